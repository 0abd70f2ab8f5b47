"""What a text denies and what it concludes; one grammar for all kinds of answer."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from judges.fuzzy.text.spans import Places, Span, Spans
from judges.fuzzy.text.wordlists import alternatives, phrases


def _cue(kind: str) -> str:
    """Return an expression for the cues of one kind."""
    return _any_of(phrases("cues", kind))


def _words(key: str) -> str:
    """Return an expression for one list of data/assertions.yaml."""
    return alternatives("assertions", key)


def _any_of(wanted: Iterable[str]) -> str:
    """Return an expression for some phrases, the longest first."""
    # A blank in a cue stands for whatever joins the words: "isn t" is "isn't" in the text.
    ordered = sorted(set(wanted), key=lambda text: (-len(text), text))
    return "|".join(phrase.replace(" ", r"[ '\-/]") for phrase in ordered)


_DENIAL = re.compile(rf"(?<![\w'])(?:(?P<affirmed>{_cue('affirmation')})|(?P<denied>{_cue('denial')}))(?!\w)")
_CONCLUSION = re.compile(rf"(?<![\w'])(?:(?P<final>final \w+)|(?:{_cue('conclusion')}))(?!\w)")
# A denial ends here. A bracket around one letter is the name of an option: "not (A)".
CLAUSE_END = re.compile(
    rf"[.!?;:\n]|\((?![a-z]\))|--| - |[—–]|\b(?:{_words('contrasts')})\b"
    rf"|,\s*(?:{_words('after_comma')}|and (?:it|this))\b|\b(?:{_words('statements')})\b"
)
_COMMA = re.compile(",")
_LIST_GOES_ON = re.compile(r"\b(?:or|nor|and)\b")
_DENIED_AFTER = re.compile(
    # "A", "C and D ..."
    r"[\"'*_)\].]{0,9}\s*(?:(?:,|and|or|&|nor)\s*(?:\(?[a-z]\)?)\s*){0,9}"
    # "Cat? No.", "cat: false", "cat = 0"
    rf"(?:\?\s*no\b|[:=\-]\s*(?:{_words('false_values')})(?!\w|\.\d)"
    # "(A) no (B) yes"
    r"|no(?=\s*(?:[,.;(\n]|$))"
    # "... are not right", "... can't be it", "a cat is not visible"
    rf"|(?:(?:{_words('verbs_before_not')})\s?)?"
    rf"(?:{_words('nots')})\s+(?:be\s+)?(?:definitely |clearly )?(?:{_words('confirmed')})"
    # "... is wrong", "cat is ruled out"
    rf"|(?:(?:{_words('verbs_before_false')})\s+)?(?:(?:{_words('before_ruled_out')}) ){{0,2}}"
    rf"(?:{_words('ruled_out')}))"
)
_SENTENCE_OR_LINE_END = re.compile(r"[.!?](?=\s)|\n")
_AFTER_ANSWER = re.compile(r"[\s\"'*_]{0,9}(?::|=|-|—|>|is\b|was\b|would be\b|\n)")
# A conclusion ends here, with its reason.
_REASON = re.compile(rf"\b(?:{_words('reasons')})\b|[.!\n]")

_REMAINING = re.compile(rf"\b(?:{_words('remaining')})\b")
_RIGHT_BEFORE = 16

# What follows explains the answer that came before.
EXPLAINED = re.compile(rf"\b(?:{_words('explanations')})\b|\breason\s*:")

REFUSAL = re.compile(rf"\b(?:{_any_of(phrases('assertions', 'refusal'))})\b")


class Marker(NamedTuple):
    """A phrase that announces the stated answer, up to `end`; `final` outranks the others."""

    end: int
    final: bool


def denials(plain: str, named: Sequence[Span]) -> list[int]:
    """Return where the cues of denial in folded text end; those inside a name ("No" as an option) deny nothing."""
    names = Spans(named)
    return [cue.end() for cue in _DENIAL.finditer(plain) if not cue["affirmed"] and not names.covers(cue.start())]


def denied_spans(plain: str, cues: Iterable[int], named: Sequence[Span]) -> Spans:
    """Return the spans of folded text that are denied by the cues that end at these offsets.

    A denial reaches to the end of its clause, or of the list of what is denied; it continues past a comma until it
    has reached one of `named`, the spans of what may be denied.
    """
    cues = list(cues)
    if not cues:
        return Spans(())
    clause_ends, commas = Places(CLAUSE_END, plain), Places(_COMMA, plain)
    joins, starts = Places(_LIST_GOES_ON, plain), sorted(start for start, _ in named)

    def scope_end(start: int) -> int:
        end = clause_ends.first(start)
        joined = joins.last(end)  # a list goes on until here
        name = bisect_left(starts, start)
        met = starts[name] if name < len(starts) else end
        comma = commas.first(start)
        if comma < end and joined < comma and not plain[start:comma].strip():
            return comma
        return min(commas.first(max(joined, met, start) + 1), end)

    return Spans((cue, scope_end(cue)) for cue in cues)


def is_denied(plain: str, span: Span, denied: Spans) -> bool:
    """Whether the folded text at `span` is denied, by words before or after it."""
    return denied.covers(span[0]) or bool(_DENIED_AFTER.match(plain, span[1]))


def conclusions(plain: str) -> list[Marker]:
    """Return the phrases in folded text that announce a stated answer."""
    return [Marker(marker.end(), marker["final"] is not None) for marker in _CONCLUSION.finditer(plain)]


def remaining(plain: str, starts: Sequence[int]) -> list[Marker]:
    """Return the phrases in folded text that leave one answer over, right before one of these sorted places."""
    found = []
    for marker in _REMAINING.finditer(plain):
        following = bisect_left(starts, marker.end())
        if following < len(starts) and starts[following] - marker.end() <= _RIGHT_BEFORE:
            found.append(Marker(marker.end(), False))
    return found


def states_answer(plain: str, end: int) -> bool:
    """Whether the bare word "answer", up to `end`, announces one: "answer: cat", not "the answer cat"."""
    return bool(_AFTER_ANSWER.match(plain, end))


def stated(plain: str, markers: Iterable[Marker], named: Sequence[Span]) -> set[Span]:
    """Return which of `named`, in order, the text states as its answer; two stated answers both count."""
    markers = list(markers)
    if not markers or not named:
        return set()
    starts = [start for start, _ in named]
    gaps, reasons = Places(_SENTENCE_OR_LINE_END, plain), Places(_REASON, plain)
    # How many statements begin and end at each name: so that one name in many statements costs no more.
    changes = {True: [0] * (len(named) + 1), False: [0] * (len(named) + 1)}
    for marker in markers:
        first = bisect_left(starts, marker.end)
        if first == len(named) or gaps.count(marker.end, starts[first]) > 1:
            continue
        changes[marker.final][first] += 1
        changes[marker.final][bisect_left(starts, reasons.first(named[first][1]))] -= 1
    found = {
        final: {span for span, count in zip(named, accumulate(change), strict=False) if count > 0}
        for final, change in changes.items()
    }
    return found[True] or found[False]
