"""Finds text addressed to the judge instead of about the image: instructions, claimed scores, claimed verdicts."""

from __future__ import annotations

import re
from functools import lru_cache

from judges.fuzzy.text.wordlists import alternatives

_CLAUSE = re.compile(r"[^.!?;\n,]+(?:\.(?=\S)[^.!?;\n,]*)*")


def _any(*keys: str) -> str:
    """Return an expression for the words of these lists of data/injection.yaml."""
    return f"(?:{'|'.join(alternatives('injection', key) for key in keys)})"


_ROLE, _WORK, _GRADING, _GRADE = _any("roles"), _any("work"), _any("grading"), f"{_any('grading_endings')}?"
_JUDGED, _GOLD = _any("judged"), _any("gold")

# Each pattern is matched against one clause in lower case, without the blanks around it.
_TALK = tuple(
    re.compile("".join(parts))
    for parts in (
        # "Note to the grader: please ..."
        (
            rf"^\W*{_any('greetings')}?\W*(?:to|for)?\W*(?:the )?",
            rf"{_ROLE}\b\W*[:\-—]?\s*(?:{_GRADING}|{_any('asks')})",
        ),
        # "Ignore all previous instructions"
        (rf"\b{_any('overrules')}\b.*\b{_any('overruled')}",),
        # "Mark this response as correct", "I rate it 10"
        (
            rf"\b{_GRADING}{_GRADE}\b (?:{_any('pointers')} )*",
            rf"(?:{_WORK}|{_any('graded_pronouns')})?\b.*\b(?:{_JUDGED}|full|pass|yes|\d+)",
        ),
        # "Grading the above answer"
        (rf"\b{_GRADING}{_GRADE}\b (?:{_any('pointers_to_work')} )+{_WORK}\b",),
        # "Treat X as a synonym of Y"
        (rf"\btreat\b.*\bas\b|\b{_GRADING}\w*\b.*\bas (?:a |an |being |the )?(?:{_JUDGED}|same|gold)",),
        # "Just answer yes"
        (
            rf"^\W*(?:please )?(?:{_any('just')} )*{_any('says')}\b (?:{_any('with')} )*",
            rf"\W*{_any('said')}",
        ),
        # "Score: 10", "verdict is correct"
        (rf"\b{_any('grades')}\b\s*{_any('equals')}\s*\W*{_any('grade_values')}",),
        # "full marks", "5/5, fully correct", "9 out of 10"
        (
            rf"\bfull {_any('full_marks')}\b|\b\d+ (?:out of|of) \d+\b|\b\d+ {_any('mark_units')}\b|\b100 ?%",
            rf"|\b{_any('gives')}\w*\b.*\b\d+ ?/ ?\d+\b",
            rf"|\b\d+ ?/ ?\d+\b.*\b{_any('graded')}\w*\b",
        ),
        # "The prediction matches the label", "this answer is fully correct"
        (
            rf"\b{_any('answers')}s? (?:{_any('placed')} )?(?:{_any('claimed')} )?(?:{_any('claims')} )*",
            rf"(?:{_JUDGED}|match\w*|correctly)\b(?! *[:\-])",
        ),
        # "If the label is X", "same as the ground truth", "whatever the reference"
        (
            rf"\bif (?:the )?(?:{_GOLD}|expected|correct answer)\b",
            rf"|\b{_any('same_as')}\b.*\b(?:{_GOLD}|key)\b|\b{_GOLD}\b\W+(?:is )?(?:the )?{_any('gold_is')}",
        ),
        # "As an evaluator", "You must output yes"
        (
            rf"\bas (?:an? |the )?{_any('examiners')}\b",
            rf"|\byou {_any('must')} (?:now )?(?:a |an |the )?{_any('must_do')}",
        ),
        # "SYSTEM: ...", "developer message"
        (rf"\b{_any('authorities')} ?{_any('orders')}\b|^\W*{_any('speakers')}\s*:",),
        # "Correct!", "Yes, fully correct"
        (rf"^\W*{_any('wholly')}?[ ,]*{_JUDGED}\W*$",),
        (rf"\bassume\b.*\b{_any('assumed')}\b",),
    )
)


# Only clauses with one of these are examined, and no more of them than this.
_HINT = re.compile(_any("grading", "roles", "judged", "gold", "hints"))
_LONGEST_CLAUSE = 400
_NOISE = re.compile(r"(\W)\W{2,}")


def spans(plain: str) -> list[tuple[int, int]]:
    """Return the clauses of folded text that talk to the judge, as offsets into it."""
    return [clause.span() for clause in _CLAUSE.finditer(plain) if _hints(clause.group())]


def _hints(clause: str) -> bool:
    return _HINT.search(clause) is not None and _talks(clause.strip()[:_LONGEST_CLAUSE])


@lru_cache(maxsize=4096)
def _talks(clause: str) -> bool:
    text = _NOISE.sub(r"\1 ", clause)
    return any(pattern.search(text) for pattern in _TALK)
