"""What a text denies and what it concludes; one grammar for all kinds of answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from judges.fuzzy.text.wordlists import alternatives, phrases

Span = tuple[int, int]
"""[start, end) in folded text."""


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
_LIST_GOES_ON = re.compile(r",[^,]*\b(?:or|nor|and)\b")
_DENIED_AFTER = re.compile(
    # "A", "C and D ..."
    r"[\"'*_)\].]*\s*(?:(?:,|and|or|&|nor)\s*(?:\(?[a-z]\)?)\s*)*"
    # "Cat? No.", "cat: false", "cat = 0"
    rf"(?:\?\s*no\b|[:=\-]\s*(?:{_words('false_values')})(?![\w.])"
    # "... are not right", "... can't be it", "a cat is not visible"
    rf"|(?:(?:{_words('verbs_before_not')})\s?)?"
    rf"(?:{_words('nots')})\s+(?:be\s+)?(?:definitely |clearly )?(?:{_words('confirmed')})"
    # "... is wrong", "cat is ruled out"
    rf"|(?:(?:{_words('verbs_before_false')})\s+)?(?:{_words('ruled_out')}))"
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)")
_AFTER_ANSWER = re.compile(r"[\s\"'*_]*(?::|=|-|—|>|is\b|was\b|would be\b|\n)")
# A conclusion ends here, with its reason.
_REASON = re.compile(rf"\b(?:{_words('reasons')})\b|[.!\n]")

# What follows explains the answer that came before.
EXPLAINED = re.compile(rf"\b(?:{_words('explanations')})\b|\breason\s*:")

REFUSAL = re.compile(rf"\b(?:{_any_of(phrases('assertions', 'refusal'))})\b")


class Marker(NamedTuple):
    """A phrase that announces the stated answer, up to `end`; `final` outranks the others."""

    end: int
    final: bool


def denials(plain: str, named: Sequence[Span]) -> list[int]:
    """Return where the cues of denial in folded text end; those inside a name ("No" as an option) deny nothing."""
    return [
        cue.end()
        for cue in _DENIAL.finditer(plain)
        if not cue["affirmed"] and not any(start <= cue.start() < end for start, end in named)
    ]


def denied_spans(plain: str, cues: Iterable[int], named: Sequence[Span]) -> list[Span]:
    """Return the spans of folded text that are denied by the cues that end at these offsets.

    A denial reaches to the end of its clause, or of the list of what is denied; it continues past a comma until it
    has reached one of `named`, the spans of what may be denied.
    """
    return [(cue, _scope_end(plain, cue, named)) for cue in cues]


def _scope_end(plain: str, start: int, named: Sequence[Span]) -> int:
    limit = CLAUSE_END.search(plain, start)
    end = limit.start() if limit else len(plain)
    comma = plain.find(",", start, end)
    while comma >= 0:
        met = any(start <= name < comma for name, _ in named) or not plain[start:comma].strip()
        if met and not _LIST_GOES_ON.search(plain[comma:end]):
            return comma
        comma = plain.find(",", comma + 1, end)
    return end


def is_denied(plain: str, span: Span, denied: Iterable[Span]) -> bool:
    """Whether the folded text at `span` is denied, by words before or after it."""
    return any(start <= span[0] < end for start, end in denied) or bool(_DENIED_AFTER.match(plain, span[1]))


def conclusions(plain: str) -> list[Marker]:
    """Return the phrases in folded text that announce a stated answer."""
    return [Marker(marker.end(), marker["final"] is not None) for marker in _CONCLUSION.finditer(plain)]


def states_answer(plain: str, end: int) -> bool:
    """Whether the bare word "answer", up to `end`, announces one: "answer: cat", not "the answer cat"."""
    return bool(_AFTER_ANSWER.match(plain, end))


def stated(plain: str, markers: Iterable[Marker], named: Sequence[Span]) -> set[Span]:
    """Return which of `named`, in order, the text states as its answer; two stated answers both count."""
    found: dict[bool, set[Span]] = {True: set(), False: set()}
    for marker in markers:
        following = [span for span in named if span[0] >= marker.end]
        if not following:
            continue
        gap = plain[marker.end : following[0][0]]
        if gap.count("\n") + len(_SENTENCE_END.findall(gap)) > 1:
            continue
        limit = _REASON.search(plain, following[0][1])
        end = limit.start() if limit else len(plain)
        found[marker.final].update(span for span in following if span[0] < end)
    return found[True] or found[False]
