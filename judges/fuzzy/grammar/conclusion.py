"""What a text concludes, whatever it considered before; one grammar for all kinds of answer."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from judges.fuzzy.matching.matcher import Hit
from judges.fuzzy.text.spans import Places, Span
from judges.fuzzy.text.wordlists import alternatives, phrases, word_list


def _words(key: str) -> str:
    """Return an expression for one list of data/conclusion.yaml."""
    return alternatives("conclusion", key)


_SENTENCE_OR_LINE_END = re.compile(r"[.!?](?=\s)|\n")
_AFTER_ANSWER = re.compile(r"[\s\"'*_]{0,9}(?::|=|-|—|>|is\b|was\b|would be\b|\n)")
_OPENS_SENTENCE = re.compile(r"(?:^|[.!?;:\n,—-])[\s\"'*_]{0,4}$")
_OPENING = 8
_CONCLUDES_IF_FIRST = word_list("conclusion", "concludes_if_first")
# A conclusion ends here, with its reason.
_REASON = re.compile(rf"\b(?:{_words('reasons')})\b|[.!\n]")
SETTLED = re.compile(
    rf"\s(?:(?:{_words('is')}) (?:(?:{_words('surely')}) )?(?:{_words('right')})|{_words('settles')})\b"
)
_SETTLED_AFTER = re.compile(rf"[\"'*_)\].]{{0,9}}{SETTLED.pattern}")
_REMAINING = re.compile(rf"\b(?:{_words('remaining')})\b")
_RIGHT_BEFORE = 16

# What follows explains the answer that came before.
EXPLAINED = re.compile(rf"\b(?:{_words('explanations')})\b|\breason\s*:")

# A blank in a phrase stands for whatever joins the words: "isn t" is "isn't" in the text.
_REFUSALS = sorted(set(phrases("conclusion", "refusal")), key=lambda phrase: (-len(phrase), phrase))
REFUSAL = re.compile(rf"\b(?:{'|'.join(_REFUSALS)})\b".replace(" ", r"[ '\-/]"))


class Marker(NamedTuple):
    """A phrase that announces the stated answer, up to `end`; `final` outranks the others."""

    end: int
    final: bool


def markers(plain: str, cues: Iterable[Hit]) -> list[Marker]:
    """Return the phrases in folded text that announce a stated answer."""
    return [
        Marker(cue.end, "final" in cue.surface.text)
        for cue in cues
        if cue.surface.cue == "conclusion" and _announces(plain, cue)
    ]


def _announces(plain: str, cue: Hit) -> bool:
    """Whether a phrase is used to announce: "answer: cat" and not "the answer cat", "So: cat" and not "so small"."""
    if cue.surface.text == "answer":
        return bool(_AFTER_ANSWER.match(plain, cue.end))
    if cue.surface.text in _CONCLUDES_IF_FIRST:
        return opens_sentence(plain, cue.start)
    return True


def opens_sentence(plain: str, start: int) -> bool:
    """Whether nothing of its clause comes before this place."""
    return bool(_OPENS_SENTENCE.search(plain[max(0, start - _OPENING) : start]))


def settled(plain: str, named: Sequence[Span]) -> list[Marker]:
    """Return the names that words after them declare right: "a cat is the best match"."""
    return [Marker(start, False) for start, end in named if _SETTLED_AFTER.match(plain, end)]


def remaining(plain: str, starts: Sequence[int]) -> list[Marker]:
    """Return the phrases in folded text that leave one answer over, right before one of these sorted places."""
    found = []
    for marker in _REMAINING.finditer(plain):
        following = bisect_left(starts, marker.end())
        if following < len(starts) and starts[following] - marker.end() <= _RIGHT_BEFORE:
            found.append(Marker(marker.end(), False))
    return found


def stated(plain: str, announced: Iterable[Marker], named: Sequence[Span]) -> set[int]:
    """Return which of `named`, in order, the text states as its answer; two stated answers both count."""
    announced = list(announced)
    if not announced or not named:
        return set()
    starts = [start for start, _ in named]
    gaps, reasons = Places(_SENTENCE_OR_LINE_END, plain), Places(_REASON, plain)
    # How many statements begin and end at each name: so that one name in many statements costs no more.
    changes = {True: [0] * (len(named) + 1), False: [0] * (len(named) + 1)}
    for marker in announced:
        first = bisect_left(starts, marker.end)
        if first == len(named) or gaps.count(marker.end, starts[first]) > 1:
            continue
        changes[marker.final][first] += 1
        changes[marker.final][bisect_left(starts, reasons.first(named[first][1]))] -= 1
    found = {
        final: {number for number, count in enumerate(accumulate(change[:-1])) if count > 0}
        for final, change in changes.items()
    }
    return found[True] or found[False]


def unanswered(plain: str, announced: Sequence[Marker], named: Sequence[Span]) -> bool:
    """Whether the last announced answer is none of `named`, though some word follows it."""
    if not announced:
        return False
    last = max(marker.end for marker in announced)
    return all(start < last for start, _ in named) and any(map(str.isalnum, plain[last : last + _NEXT_WORD]))


_NEXT_WORD = 12
