"""Judges by name, and the one call that most users need."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Protocol

from judges.errors import UserError
from judges.target import Target
from judges.verdict import Verdict


class Judge(Protocol):
    """Anything that turns answers into verdicts. Safe to share between threads."""

    name: str

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer."""
        ...

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in their order."""
        ...


_JUDGES = {
    "fuzzy": "judges.rules:RuleJudge",
}


@cache
def get_judge(name: str = "fuzzy") -> Judge:
    """Return the judge of that name, with its default settings.

    Raises:
        UserError: no judge has that name.
    """
    if name not in _JUDGES:
        raise UserError(f"judge {name!r} is not known; choose one of {', '.join(sorted(_JUDGES))}")
    module, attribute = _JUDGES[name].split(":")
    judge: Judge = getattr(importlib.import_module(module), attribute)()
    return judge


def judge(prediction: str, target: Target, *, by: str = "fuzzy") -> Verdict:
    """Judge one answer of a model.

    Example:
        >>> from judges import MultipleChoice, judge
        >>> judge("(B)", MultipleChoice(label="B", choices=["cat", "dog"])).category
        'correct'
    """
    return get_judge(by).judge(prediction, target)
