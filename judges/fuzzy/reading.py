"""Reads one answer to a classification question: which labels does it assert, and how sure is that?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from judges.fuzzy import confidence
from judges.fuzzy.grammar import assertions, context, injection
from judges.fuzzy.matching import numerals
from judges.fuzzy.matching.matcher import Hit, Matcher
from judges.fuzzy.matching.spelling import Speller
from judges.fuzzy.text import markup
from judges.fuzzy.text.normalize import Folded, fold, fold_simple
from judges.fuzzy.text.spans import Places, Span, Spans
from judges.fuzzy.text.wordlists import alternatives, phrases, word_list
from judges.vocabulary import Vocabulary

_CONTRAST = re.compile(
    rf"\b(?:{alternatives('reading', 'contrasts')})\b|,\s*(?:{alternatives('reading', 'contrasts_after_comma')})"
)
_APPEARANCE = frozenset(phrases("reading", "appearances"))
_ARTICLE_BEFORE = re.compile(rf"\b(?:{alternatives('reading', 'articles')})\s(?:\w+\s)?$")
_DESCRIBING = word_list("reading", "describing")
_OFFERS = re.compile(
    rf"\b(?:{alternatives('reading', 'offers')})\b"
    rf"|\b(?:{alternatives('reading', 'offers_right_before')})\b(?=\W*(?:the |an? )?\W*$)"
)
_OFFERED_WITHIN = 60
_FEWEST_OFFERED = 3
# What joins the members of a list.
_GLUE = re.compile(r"[ \"'*_`()\[\]|-]*(?:(?:[,;/|\n]|\band\b|\bor\b|&)[ \"'*_`()\[\]|-]*){1,3}(?:(?:an?|the) )?")
_LONGEST_GLUE = 24
_NEAR = 40
# Kinds of cue that leave a lone label as it is, and that may deny it; no cue at all is "".
_HARMLESS = frozenset({"", "comparison", "affirmation"})
_DENIALS = frozenset({"denial", "question", "refutation"})


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
        if not cues.isdisjoint(_DENIALS) or ":" in folded.plain or "?" in folded.plain:
            labels = _drop_denied(reading, hits, labels)
        if labels and "retraction" in cues:
            labels = _drop_retracted(reading, hits, labels)
        if len(labels) > _FEWEST_OFFERED:
            labels = _drop_offered(reading, labels)
        if "conclusion" in cues:
            labels = _keep_conclusion(reading, hits, labels)
        if "comparison" in cues:
            labels = _drop_compared(reading, hits, labels)
        reading.asserted = labels
        return reading

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


def _drop_offered(reading: Reading, labels: list[Hit]) -> list[Hit]:
    """Drop a list of labels that the question offers, repeated in the answer, if anything else is asserted."""
    plain = reading.folded.plain
    runs: list[list[Hit]] = [[labels[0]]]
    for before, label in pairwise(labels):
        joined = label.start - before.end <= _LONGEST_GLUE and _GLUE.fullmatch(plain, before.end, label.start)
        if joined:
            runs[-1].append(label)
        else:
            runs.append([label])
    offered = {
        hit.start
        for run in runs
        if len({hit.surface.labels for hit in run}) >= _FEWEST_OFFERED
        and _OFFERS.search(plain[max(0, run[0].start - _OFFERED_WITHIN) : run[0].start])
        for hit in run
    }
    kept = [hit for hit in labels if hit.start not in offered]
    if not offered or not kept:
        return labels
    reading.note("the options repeated from the question assert nothing", confidence.OFFERED)
    return _keep(reading, labels, kept)


def _drop_denied(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop labels that the answer denies or only wonders about."""
    plain = reading.folded.plain
    cues = [hit.end for hit in hits if hit.surface.cue in {"denial", "question"}]
    spans = assertions.denied_spans(plain, cues, _spans(labels))
    reading.denied = [hit for hit in labels if assertions.is_denied(plain, hit[:2], spans)]
    if not reading.denied:
        return labels
    reading.note(f'"{reading.denied[0].surface.text}" is denied', confidence.DENIED)
    denied = {hit.start for hit in reading.denied}
    return _keep(reading, labels, [hit for hit in labels if hit.start not in denied])


def _spans(hits: Sequence[Hit]) -> list[Span]:
    return [(hit.start, hit.end) for hit in hits]


def _drop_retracted(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop what comes before the last "no wait" or "I mean" that has something after it."""
    retracted = [hit.end for hit in hits if hit.surface.cue == "retraction" and hit.end <= labels[-1].start]
    if not retracted or labels[0].start >= retracted[-1]:
        return labels
    reading.note("corrects itself", confidence.CORRECTED)
    return _keep(reading, labels, [label for label in labels if label.start >= retracted[-1]])


def _keep(reading: Reading, labels: list[Hit], kept: Sequence[Hit]) -> list[Hit]:
    """Return the labels that are kept, in order; the others become ignored."""
    starts = {label.start for label in kept}
    reading.ignored += [label for label in labels if label.start not in starts]
    return [label for label in labels if label.start in starts]


def _keep_conclusion(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Keep only the labels of the stated answer, if there is one; two such answers both count."""
    plain = reading.folded.plain
    markers = [
        assertions.Marker(hit.end, "final" in hit.surface.text)
        for hit in hits
        if hit.surface.cue == "conclusion"
        and (hit.surface.text != "answer" or assertions.states_answer(plain, hit.end))
    ]
    stated = assertions.stated(plain, markers, _spans(labels))
    kept = [label for label in labels if label[:2] in stated]
    if kept and len(kept) < len(labels):
        reading.note("the stated answer outranks the rest", confidence.STATED_ANSWER)
        return _keep(reading, labels, kept)
    return labels


def _drop_compared(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop labels that others are only compared with, if anything else is asserted."""
    plain = reading.folded.plain
    contrast = Places(_CONTRAST, plain)
    compared = []
    for hit in hits:
        if hit.surface.cue != "comparison":
            continue
        appearance = hit.surface.text in _APPEARANCE
        if appearance and contrast.first(hit.end) == len(plain):
            continue
        near = hit.end + _NEAR
        limit = assertions.CLAUSE_END.search(plain, hit.end, near + _NEAR)  # a phrase may reach past what is near
        compared.append((hit.end, min(limit.start() if limit else near, plain.find(",", hit.end, near) % (near + 1))))
    scopes = Spans(compared)
    weak = [label for label in labels if scopes.covers(label.start)]
    strong = [label for label in labels if not scopes.covers(label.start)]
    if not weak or not strong:
        return labels
    reading.note(f'"{weak[0].surface.text}" is only compared with', confidence.COMPARED)
    return _keep(reading, labels, strong)
