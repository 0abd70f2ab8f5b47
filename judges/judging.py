"""Judges by name, and the one call that most users need."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from threading import RLock
from typing import Any, Protocol

from emt_core.errors import UserError
from judges.settings import CascadeSettings, EmbeddingSettings, JudgeSettings, LLMSettings, PanelSettings
from judges.target import Target
from judges.verdict import Verdict


class Judge(Protocol):
    """Anything that turns answers into verdicts. Safe to share between threads."""

    name: str

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer."""
        ...

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order."""
        ...


_JUDGES: dict[str, tuple[str, type[JudgeSettings]]] = {
    "cascade": ("judges.llm.cascade:CascadeJudge", CascadeSettings),
    "embedding": ("judges.embedding:EmbeddingJudge", EmbeddingSettings),
    "emt-paper": ("judges.llm.judge:paper_judge", LLMSettings),
    "fuzzy": ("judges.fuzzy.judge:FuzzyJudge", JudgeSettings),
    "llm": ("judges.llm.judge:category_judge", LLMSettings),
    "panel": ("judges.llm.panel:PanelJudge", PanelSettings),
}
JUDGE_NAMES = tuple(_JUDGES)

# Re-entrant: some judges are built on others.
_building = RLock()


def get_judge(name: str = "fuzzy", **settings: Any) -> Judge:
    """Return the judge of that name; the same one for the same settings.

    `settings` are those of `judges.settings`; missing ones come from the current environment.

    Raises:
        UserError: no judge has that name, or it has no such setting.
    """
    if name not in _JUDGES:
        raise UserError(f"unknown judge {name!r}; choose one of {', '.join(JUDGE_NAMES)}")
    try:
        resolved = _JUDGES[name][1].resolve(settings)
    except UserError as error:
        raise UserError(f"judge {name!r}: {error}") from error
    with _building:
        return _build(name, resolved)


@cache
def _build(name: str, settings: JudgeSettings) -> Judge:
    module, attribute = _JUDGES[name][0].split(":")
    factory = getattr(importlib.import_module(module), attribute)
    # The rules have no settings.
    built: Judge = factory() if type(settings) is JudgeSettings else factory(settings)
    return built


def signature(judge: Judge) -> str:
    """Name a judge with everything that its verdicts depend on: its model, its prompt's version, its threshold."""
    return str(getattr(judge, "signature", judge.name))


def with_version(judge: Judge) -> str:
    """Name a judge as samples log it: its signature, and the version of this package, which has the rules."""
    return f"{signature(judge)}, emt-eval {_version()}"


@cache
def _version() -> str:
    try:
        return version("emt-eval")
    except PackageNotFoundError:  # run from a folder, not installed
        return "unknown"


def judge(prediction: str, target: Target, *, by: str = "fuzzy") -> Verdict:
    """Judge one answer of a model.

    Example:
        >>> from judges import MultipleChoice, judge
        >>> judge("(B)", MultipleChoice(label="B", choices=["cat", "dog"])).category
        'correct'
    """
    return get_judge(by).judge(prediction, target)
