"""Reads one answer to a classification question: which labels does it assert, and how sure is that?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from judges import context, injection, markup, numerals
from judges.matcher import Hit, Matcher
from judges.markup import SUSPICIOUS
from judges.normalize import Folded, fold, fold_simple
from judges.spelling import Speller
from judges.vocabulary import Vocabulary

# A denial ends here.
_CLAUSE_END = re.compile(
    r"[.!?;:\n(]|--| - |[—–]|\b(?:but|rather|instead|however|actually|though|although|because|so|yet)\b"
    r"|,\s*(?:it|this|that|i|the|only|just|more|probably|likely|possibly|maybe|perhaps|and it|and this|which|what|my|we|you|he|she|they)\b"
    r"|\b(?:it is|it s|it's|this is|that is|that s|that's|i think|more like|looks like|appears to be|must be)\b"
)
_LIST_GOES_ON = re.compile(r",[^,]*\b(?:or|nor|and)\b")
_DENIED_AFTER = re.compile(
    r"[\"'*_)]*\s*(?:\?\s*no\b|[:=\-]\s*(?:no|false|absent|0(?:\.0+)?%?)(?![\w.])"
    r"|(?:(?:is|was|are|were|can|could|does|do|would)\s?(?:n'?t|not)|cannot|can't)\s+(?:be\s+)?(?:definitely\s+|clearly\s+)?"
    r"(?:correct|right|it\b|the (?:answer|right|correct|object|case)|visible|present|possible|shown|seen|here|a match|match"
    r"|fit|true|in (?:the|this) (?:image|picture|photo)|likely|what|accurate|depicted|there)"
    r"|(?:is|was|would be)\s+(?:wrong|incorrect|ruled out|excluded|unlikely|absent|false|impossible|out of the question))"
)
_CONTRAST = re.compile(
    r"\b(?:but|however|though|although|actually|yet|instead|rather|while|in fact|in reality|turns out)\b|,\s*(?:it is|it's|this is)"
)
_REASON = re.compile(
    r"\b(?:because|since|as it|as the|given that|based on|due to|considering|which is|unlike|rather than)\b|[.!\n]"
)
_AFTER_ANSWER = re.compile(r"[\s\"'*_]*(?::|=|-|—|>|is\b|was\b|would be\b|\n)")
_APPEARANCE = frozenset(
    [
        "looks like",
        "look like",
        "looked like",
        "looking like",
        "at first",
        "at first glance",
        "at first sight",
        "initially",
    ]
    + ["i thought", "first thought", "appeared to be", "seemed"]
)
_ARTICLE_BEFORE = re.compile(r"\b(?:a|an|the|this|that|one|some|two|several)\s(?:\w+\s)?$")
# Labels that say what another thing is made of, how old it is or where it lives.
_DESCRIBING = frozenset(
    ["apple", "baby", "mountain", "maple", "oak", "orange", "palm", "pine", "plain", "rose", "sea", "willow"]
)
_NEAR = 40
# Kinds of cue that leave a lone label as it is, and that may deny it; no cue at all is "".
_HARMLESS = frozenset({"", "comparison", "affirmation"})
_DENIALS = frozenset({"denial", "question", "refutation"})


@dataclass(slots=True)
class Reading:
    """What was found in one answer; offsets are those of the folded text.

    `asserted` are the labels that count; `denied` and `ignored` those that do not; `notes` name what was decided on
    the way; `certainty` is how far to trust the whole.
    """

    folded: Folded
    asserted: list[Hit] = field(default_factory=list)
    denied: list[Hit] = field(default_factory=list)
    ignored: list[Hit] = field(default_factory=list)
    others: list[Hit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    certainty: float = 1.0

    def note(self, text: str, certainty: float) -> None:
        """Record a decision and how sure it is."""
        if text not in self.notes:
            self.notes.append(text)
        self.certainty = min(self.certainty, certainty)


class Reader:
    """Reads answers against one vocabulary. Safe to share between threads: it holds no state of a reading."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.numeric = numerals.is_numeric(vocabulary)
        self.matcher = Matcher(vocabulary, numerals.outside_numbers() if self.numeric else ())
        self.speller = Speller(self.matcher.surfaces)

    def read(self, text: str) -> Reading | Hit:
        """Return which labels the answer asserts.

        The common case, plain text that names one label and holds nothing that could change its meaning, is found
        fast and is returned as that one hit.
        """
        if not text.isascii() or SUSPICIOUS.search(text):
            cleaned = markup.clean(text)
            folded = fold(cleaned)
            return self._interpret(folded, cleaned, self.matcher.find(folded.words))
        folded = fold_simple(text)
        hits = self.matcher.find(folded.words)
        return self._lone_label(folded, hits) or self._interpret(folded, text, hits)

    def _lone_label(self, folded: Folded, hits: list[Hit]) -> Hit | None:
        """Return the only hit where it is a label that surely stands for a thing, None where more care is needed."""
        if self.numeric or not hits or any(hit.surface.cue not in _HARMLESS for hit in hits):
            return None
        if len(hits) > 1:
            hits = [hit for hit in hits if not hit.surface.cue]
            if len(hits) != 1:
                return None
        hit = hits[0]
        return hit if hit.surface.labels and self._is_thing(folded, hit) else None

    def _is_thing(self, folded: Folded, hit: Hit) -> bool:
        """Whether a label stands for a thing here; names of several words do."""
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
                reading.note("read as a misspelling", 0.7)
        if not labels:
            return reading
        cues = {hit.surface.cue for hit in hits}
        if "judge" in cues or "/" in folded.plain:
            labels = _drop_judge_talk(reading, labels)
        if not self.numeric:
            labels = self._drop_homographs(reading, labels)
        if not cues.isdisjoint(_DENIALS) or ":" in folded.plain or "?" in folded.plain:
            labels = _drop_denied(reading, hits, labels)
        if "retraction" in cues:
            labels = _drop_retracted(reading, hits, labels)
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
        kept = [hit for hit in words if numerals.word_is_digit(folded.plain, hit.start, hit.end)]
        reading.ignored += [hit for hit in words if hit not in kept]
        if outside:
            reading.note("holds a number of several digits", 0.85)
        return sorted(kept + digits)

    def _drop_homographs(self, reading: Reading, labels: list[Hit]) -> list[Hit]:
        """Drop labels that are verbs, adjectives or part of another name here."""
        plain = reading.folded.plain
        kept = []
        for position, hit in enumerate(labels):
            following = labels[position + 1] if position + 1 < len(labels) else None
            if following is not None and _only_describes(plain, hit, following):
                reading.note(f'"{hit.surface.text}" only describes "{following.surface.text}"', 0.75)
            elif not self._is_thing(reading.folded, hit):
                reading.note(f'"{hit.surface.text}" is not used as the name of a thing', 0.65)
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
    spans = injection.spans(reading.folded.plain)
    if not spans:
        return labels
    reading.note("talk to the judge asserts nothing", 0.8)
    dropped = [hit for hit in labels if any(start <= hit.start < end for start, end in spans)]
    reading.ignored += dropped
    return [hit for hit in labels if hit not in dropped]


def _drop_denied(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop labels that the answer denies or only wonders about."""
    plain = reading.folded.plain
    scopes = [
        (hit.end, _scope_end(plain, hit.end, labels)) for hit in hits if hit.surface.cue in {"denial", "question"}
    ]
    denied = [
        hit
        for hit in labels
        if any(start <= hit.start < end for start, end in scopes) or _DENIED_AFTER.match(plain, hit.end)
    ]
    if denied:
        reading.note(f'"{denied[0].surface.text}" is denied', 0.85)
        reading.denied += denied
    return [hit for hit in labels if hit not in denied]


def _scope_end(plain: str, start: int, labels: Sequence[Hit]) -> int:
    """Return where a denial that starts here ends: with its clause, or with a list of what is denied."""
    limit = _CLAUSE_END.search(plain, start)
    end = limit.start() if limit else len(plain)
    comma = plain.find(",", start, end)
    while comma >= 0:
        named = any(start <= hit.start < comma for hit in labels)
        if (named or not plain[start:comma].strip()) and not _LIST_GOES_ON.search(plain[comma:end]):
            return comma
        comma = plain.find(",", comma + 1, end)
    return end


def _drop_retracted(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop what stands before "no wait" or "I mean", where something stands after it."""
    for hit in hits:
        if hit.surface.cue == "retraction":
            after = [label for label in labels if label.start >= hit.end]
            if after and len(after) < len(labels):
                reading.note("corrects itself", 0.7)
                reading.ignored += [label for label in labels if label not in after]
                labels = after
    return labels


def _keep_conclusion(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Keep only the labels of the stated answer, where there is one; two such answers both count."""
    plain = reading.folded.plain
    stated: dict[bool, list[Hit]] = {True: [], False: []}
    for hit in hits:
        if hit.surface.cue != "conclusion" or (
            hit.surface.text == "answer" and not _AFTER_ANSWER.match(plain, hit.end)
        ):
            continue
        following = [label for label in labels if label.start >= hit.end]
        if not following:
            continue
        limit = _REASON.search(plain, following[0].end)
        end = limit.start() if limit else len(plain)
        gap = plain[hit.end : following[0].start]
        if gap.count("\n") + len(re.findall(r"[.!?](?=\s)", gap)) > 1:
            continue
        stated["final" in hit.surface.text] += [label for label in following if label.start < end]
    kept = list(dict.fromkeys(stated[True] or stated[False]))
    if kept and len(kept) < len(labels):
        reading.note("the stated answer outranks the rest", 0.85)
        reading.ignored += [label for label in labels if label not in kept]
        return sorted(kept)
    return labels


def _drop_compared(reading: Reading, hits: Sequence[Hit], labels: list[Hit]) -> list[Hit]:
    """Drop labels that others are only compared with, where anything else is asserted."""
    plain = reading.folded.plain
    weak = []
    for hit in hits:
        if hit.surface.cue != "comparison":
            continue
        appearance = hit.surface.text in _APPEARANCE
        if appearance and not _CONTRAST.search(plain, hit.end):
            continue
        limit = _CLAUSE_END.search(plain, hit.end)
        end = min(limit.start() if limit else len(plain), plain.find(",", hit.end) % (len(plain) + 1), hit.end + _NEAR)
        weak += [label for label in labels if hit.end <= label.start < end]
    strong = [label for label in labels if label not in weak]
    if not weak or not strong:
        return labels
    reading.note(f'"{weak[0].surface.text}" is only compared with', 0.7)
    reading.ignored += weak
    return strong
