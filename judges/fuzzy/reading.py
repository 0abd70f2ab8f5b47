"""Reads one answer to a classification question: which labels does it assert, and how sure is that?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from judges.fuzzy import confidence
from judges.fuzzy.grammar import context, injection, stances
from judges.fuzzy.matching import numerals
from judges.fuzzy.matching.matcher import Hit, Matcher
from judges.fuzzy.matching.spelling import Speller
from judges.fuzzy.text import markup
from judges.fuzzy.text.normalize import Folded, fold, fold_simple
from judges.fuzzy.text.spans import Span, Spans
from judges.fuzzy.text.wordlists import alternatives, word_list
from judges.vocabulary import Vocabulary

_ARTICLE_BEFORE = re.compile(rf"\b(?:{alternatives('reading', 'articles')})\s(?:\w+\s)?$")
_DESCRIBING = word_list("reading", "describing")
_NEAR = 40
_PAIR = 2
# Signs by which a lone label may be denied: "cat: false", "a cat? no".
_SIGNS = re.compile(r"[:?=]")
# Kinds of cue that leave a lone label as it is; no cue at all is "".
_HARMLESS = frozenset({"", "comparison", "affirmation", "tentative", "settlement", "offer"})


@dataclass(slots=True)
class Reading:
    """What was found in one answer; offsets are those of the folded text.

    `asserted` are the labels that count; `denied` and `ignored` those that do not; `notes` record the
    decisions made; `certainty` is how far to trust the reading.
    """

    folded: Folded
    asserted: list[Hit] = field(default_factory=list)
    denied: list[Hit] = field(default_factory=list)
    ignored: list[Hit] = field(default_factory=list)
    others: list[Hit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    certainty: float = confidence.NO_DOUBT

    def note(self, text: str, certainty: float) -> None:
        """Record a decision and how sure it is."""
        if text not in self.notes:
            self.notes.append(text)
        self.certainty = min(self.certainty, certainty)


class Reader:
    """Reads answers against one vocabulary. Safe to share between threads: it keeps no state between readings."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.numeric = numerals.is_numeric(vocabulary)
        self.matcher = Matcher(vocabulary, numerals.outside_numbers() if self.numeric else ())
        self.speller = Speller(self.matcher.surfaces)

    def read(self, text: str) -> Reading | Hit:
        """Return which labels the answer asserts.

        The common case, plain text that names one label and contains nothing that could change its meaning, is found
        fast and returned as that one hit.
        """
        if not text.isascii() or markup.SUSPICIOUS.search(text):
            cleaned = markup.clean(text)
            folded = fold(cleaned)
            return self._interpret(folded, cleaned, self.matcher.find(folded.words))
        folded = fold_simple(text)
        hits = self.matcher.find(folded.words)
        return self._lone_label(folded, hits) or self._interpret(folded, text, hits)

    def _lone_label(self, folded: Folded, hits: list[Hit]) -> Hit | None:
        """Return the only hit if it is a label that clearly names a thing, None if more care is needed."""
        if self.numeric or not hits or any(hit.surface.cue not in _HARMLESS for hit in hits):
            return None
        if len(hits) > 1:
            hits = [hit for hit in hits if not hit.surface.cue]
            if len(hits) != 1:
                return None
        hit = hits[0]
        return hit if hit.surface.labels and self._is_thing(folded, hit) else None

    def _is_thing(self, folded: Folded, hit: Hit) -> bool:
        """Whether a label names a thing here; names of several words always do."""
        pos = hit.surface.pos
        if not pos:
            return True
        words, plain, _ = folded
        if pos == "n":
            # What `names_thing` would find, without looking at the words before.
            return plain[hit.end] != "-" and not context.is_modifier_of(context.following_word(words, plain, hit.end))
        return context.names_thing(plain, hit.start, hit.end, hit.surface)

    def _interpret(self, folded: Folded, cleaned: str, hits: list[Hit]) -> Reading:
        """Return a reading by all the rules; `cleaned` is the answer as written, without its wrapping."""
        reading = Reading(folded)
        labels = self._labels(reading, cleaned, hits)
        if not labels and not reading.others:
            labels = self.speller.find(folded.words)
            if labels:
                reading.note("read as a misspelling", confidence.MISSPELT)
        if not labels:
            return reading
        cues = {hit.surface.cue for hit in hits}
        if "judge" in cues or "/" in folded.plain:
            labels = _drop_judge_talk(reading, labels)
        if not self.numeric:
            labels = self._drop_homographs(reading, labels)
        if _is_plain(folded.plain, cues, labels):
            reading.asserted = labels
        elif labels:
            self._weigh(reading, [hit for hit in hits if hit.surface.cue], labels)
        return reading

    def _weigh(self, reading: Reading, cues: list[Hit], labels: list[Hit]) -> None:
        """Tell which labels the answer asserts; if none of those that it names, the misspelt ones."""
        weighed = stances.weigh(reading.folded.plain, cues, *_places(labels))
        if weighed.unanswered or (weighed.denied and not weighed.kept):
            names = Spans((hit.start, hit.end) for hit in labels)
            misspelt = [hit for hit in self.speller.find(reading.folded.words) if not names.meets(hit.start, hit.end)]
            if misspelt:
                reading.note("read as a misspelling", confidence.MISSPELT)
                labels = sorted([*labels, *misspelt], key=lambda hit: hit.start)
                weighed = stances.weigh(reading.folded.plain, cues, *_places(labels))
        for note in weighed.notes:
            reading.note(*note)
        reading.denied = [labels[number] for number in weighed.denied]
        reading.asserted = _keep(reading, labels, [labels[number] for number in weighed.kept])

    def _labels(self, reading: Reading, cleaned: str, hits: list[Hit]) -> list[Hit]:
        """Return the hits that are names of labels, with the digits where labels are digits."""
        reading.others = [hit for hit in hits if hit.surface.how == "other"]
        labels = [hit for hit in hits if hit.surface.labels]
        if not self.numeric:
            return labels
        folded = reading.folded
        digits, outside = numerals.find_digits(folded.plain, cleaned, folded.origin)
        words = [hit for hit in labels if not hit.surface.text.isdigit()]
        kept = _keep(reading, words, [hit for hit in words if numerals.word_is_digit(folded.plain, hit.start, hit.end)])
        if outside:
            reading.note("holds a number of several digits", confidence.LONG_NUMBER)
        return sorted(kept + digits, key=lambda hit: hit.start)

    def _drop_homographs(self, reading: Reading, labels: list[Hit]) -> list[Hit]:
        """Drop labels that are verbs, adjectives or part of another name here."""
        plain = reading.folded.plain
        kept = []
        for position, hit in enumerate(labels):
            following = labels[position + 1] if position + 1 < len(labels) else None
            if following is not None and _only_describes(plain, hit, following):
                reading.note(f'"{hit.surface.text}" only describes "{following.surface.text}"', confidence.DESCRIBES)
            elif not self._is_thing(reading.folded, hit):
                reading.note(f'"{hit.surface.text}" is not used as the name of a thing', confidence.NO_THING)
            else:
                kept.append(hit)
                continue
            reading.ignored.append(hit)
        return kept


def _is_plain(plain: str, cues: set[str], labels: Sequence[Hit]) -> bool:
    """Whether one label, or two in a sentence, stand beside nothing that could change their meaning."""
    if not labels or len(labels) > _PAIR or _SIGNS.search(plain):
        return False
    if len(labels) == 1:
        return cues <= _HARMLESS
    return cues <= {""} and not stances.SENTENCE_END.search(plain, labels[0].end, labels[1].start)


def _places(labels: Sequence[Hit]) -> tuple[list[Span], list[frozenset[int]]]:
    """Return where labels are and what they stand for."""
    return [(hit.start, hit.end) for hit in labels], [hit.surface.labels for hit in labels]


def _only_describes(plain: str, hit: Hit, following: Hit) -> bool:
    """Whether a label describes the next: "a baby elephant" is one thing, "cat dog" are two."""
    if plain[hit.end : following.start] != " " or following.surface.labels & hit.surface.labels:
        return False
    return (
        hit.surface.text in _DESCRIBING
        or _ARTICLE_BEFORE.search(plain[max(0, hit.start - _NEAR) : hit.start]) is not None
    )


def _drop_judge_talk(reading: Reading, labels: list[Hit]) -> list[Hit]:
    """Drop labels inside clauses that talk to the judge."""
    talk = Spans(injection.spans(reading.folded.plain))
    if not talk:
        return labels
    reading.note("talk to the judge asserts nothing", confidence.JUDGE_TALK)
    return _keep(reading, labels, [hit for hit in labels if not talk.covers(hit.start)])


def _keep(reading: Reading, labels: list[Hit], kept: Sequence[Hit]) -> list[Hit]:
    """Return the labels that are kept, in order; the others become ignored."""
    starts = {label.start for label in kept}
    reading.ignored += [label for label in labels if label.start not in starts]
    return [label for label in labels if label.start in starts]
