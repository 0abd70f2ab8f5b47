"""Judges an answer to a classification question by the labels that it asserts."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from judges.fuzzy import confidence
from judges.fuzzy.grammar import conclusion
from judges.fuzzy.matching.matcher import Hit
from judges.fuzzy.reading import Reader, Reading
from judges.fuzzy.text.normalize import fold_name
from judges.target import Classification
from judges.verdict import Category, Match, Verdict
from judges.vocabulary import Vocabulary

NAME = "fuzzy"


class _Index:
    """What is cached for one vocabulary: its reader, and the classes of the gold labels seen so far."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.reader = Reader(vocabulary)
        self.gold: dict[int | str, frozenset[int]] = {}


class ClassificationJudge:
    """Judges answers against any vocabulary; what it builds for one is cached as long as that vocabulary lives."""

    def __init__(self) -> None:
        self._indices: WeakKeyDictionary[Vocabulary, _Index] = WeakKeyDictionary()

    def judge(self, prediction: str, target: Classification) -> Verdict:
        """Judge one answer.

        Raises:
            UserError: the target's label is not a class of its vocabulary.
        """
        vocabulary = target.vocabulary
        index = self._indices.get(vocabulary)
        if index is None:
            index = self._indices[vocabulary] = _Index(vocabulary)
        gold = index.gold.get(target.label)
        if gold is None:
            gold = index.gold[target.label] = frozenset(label.index for label in vocabulary.resolve(target.label))
        reading = index.reader.read(prediction)
        if isinstance(reading, Reading):
            return _decide(reading, prediction, target, gold)
        return _decide_lone(reading, prediction, target, gold)


def _decide_lone(hit: Hit, prediction: str, target: Classification, gold: frozenset[int]) -> Verdict:
    """Return the verdict on an answer that contains one label and nothing that could change its meaning."""
    start, end, surface = hit
    labels = _meant(hit, target, gold)
    name = target.vocabulary.labels[min(labels & gold or labels)].name
    text = prediction[start - 1 : end - 1]
    whole = len(text) == len(prediction) and surface.how == "name"
    sure = confidence.WHOLE_ANSWER if whole else confidence.LABEL[surface.how]
    match = Match(name, start - 1, end - 1, text, surface.how)
    if labels & gold:
        return Verdict("correct", (match,), NAME, sure, f'names the label: "{text}" ({surface.how})')
    return Verdict("incorrect", (match,), NAME, sure, f'names another label: {name} ("{text}", {surface.how})')


def _decide(reading: Reading, prediction: str, target: Classification, gold: frozenset[int]) -> Verdict:
    """Return the verdict on a reading, by the table of the rubric."""
    vocabulary = target.vocabulary
    origin = reading.folded.origin
    meant = [_meant(hit, target, gold) for hit in reading.asserted]
    matches = []
    for hit, labels in zip(reading.asserted, meant, strict=True):
        start, end = origin[hit.start], origin[hit.end - 1] + 1
        name = vocabulary.labels[min(labels & gold or labels)].name
        matches.append(Match(name, start, end, prediction[start:end], hit.surface.how))
    category = _category(meant, gold)
    reason = _reason(category, matches, reading)
    return Verdict(category, tuple(matches), NAME, _confidence(category, reading), reason)


def _meant(hit: Hit, target: Classification, gold: frozenset[int]) -> frozenset[int]:
    """Return the classes that a hit stands for, given what the caller calls the right one.

    ImageNet calls two classes "sunglasses". Where the caller calls the right one "sunglass", the name "sunglasses"
    is left to the other.
    """
    labels = hit.surface.labels
    if len(labels) < 2 or not isinstance(target.label, str) or len(gold) != 1 or hit.surface.how != "name":
        return labels
    (index,) = gold
    called = fold_name(target.label)
    if index in labels and called not in {
        hit.surface.text,
        fold_name(target.vocabulary.labels[index].name),
        str(index),
    }:
        return labels - gold
    return labels


def _category(meant: Sequence[frozenset[int]], gold: frozenset[int]) -> Category:
    """Return the rubric's category for the classes that each asserted name stands for."""
    if not meant:
        return "extrinsic"
    if all(labels & gold for labels in meant):
        return "correct"
    common = frozenset.intersection(*meant)
    return "incorrect" if common and not any(labels & gold for labels in meant) else "intrinsic"


def _reason(category: Category, matches: Sequence[Match], reading: Reading) -> str:
    names = list(dict.fromkeys(match.label for match in matches))
    if category == "correct":
        found = f'names the label: "{matches[0].text}" ({matches[0].how})'
    elif category == "incorrect":
        found = f'names another label: {names[0]} ("{matches[0].text}", {matches[0].how})'
    elif category == "intrinsic":
        found = f"names {len(names)} labels: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}"
    else:
        found = "names no label" + (f'; "{reading.others[0].surface.text}" is something else' if reading.others else "")
    return "; ".join([found, *reading.notes])


def _confidence(category: Category, reading: Reading) -> float:
    """Return how sure the verdict is; least sure where an unknown synonym may hide."""
    if category == "extrinsic":
        words = reading.folded.words
        if not words.strip():
            return confidence.EMPTY
        if reading.denied or reading.others or conclusion.REFUSAL.search(reading.folded.plain):
            return min(confidence.REFUSED_LABEL, reading.certainty)
        return min(confidence.NO_LABEL, reading.certainty)
    sure = min(confidence.LABEL.get(hit.surface.how, confidence.OTHER_LABEL) for hit in reading.asserted)
    return min(sure, reading.certainty, confidence.SEVERAL_LABELS if category == "intrinsic" else confidence.NO_DOUBT)
