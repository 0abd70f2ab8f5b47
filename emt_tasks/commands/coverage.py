"""Which tasks to evaluate: those named, those of a finished run, or what `auto` finds; what is left out is told.

A check that was given no tasks takes what `auto` takes, and requires the whole matrix: it can find forgetting, but does
not pass a candidate on a part of the matrix unless told to by `--tasks auto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from emt_core.runs import read_run
from emt_tasks.commands.evaluations import is_run
from emt_tasks.commands.options import split_names
from emt_tasks.tasks.auto import AUTO, Chosen, choose
from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.gate.decide import GateResult
from leaderboards.gate.policy import Policy
from leaderboards.gate.untested import Untested, lines


@dataclass(frozen=True, slots=True)
class Coverage:
    """The tasks to evaluate, those that are left out for lack of data, and those that a pass requires if it is not all.

    `required` is None where the policy or the base's run decides.
    """

    names: tuple[str, ...]
    untested: tuple[Untested, ...] = ()
    required: tuple[str, ...] | None = None

    def demand(self, policy: Policy) -> Policy:
        """Return the policy with what a pass requires, unless it says that itself."""
        if self.required is None or policy.required is not None:
            return policy
        return policy.model_copy(update={"required": self.required})

    def note(self, results: Iterable[GateResult]) -> list[GateResult]:
        """Return the results with what was left out, for every output to show."""
        return [replace(result, untested=self.untested) for result in results]


def cover(tasks: str | None, base: str) -> Coverage:
    """Return what a check evaluates; where something is left out, tell what, and what to do about it.

    Args:
        tasks: the option's value, None where it was not given.
        base: the base model; a finished run decides the tasks where `--tasks` does not.
    """
    names = split_names(tasks)
    if is_run(base) and names in (None, [AUTO]):
        return Coverage(tuple(read_run(Path(base)).tasks))
    if names is not None and AUTO not in names:
        return Coverage(tuple(names))
    chosen = choose()
    untested = tuple(Untested(one.task.name, one.task.quadrant, one.remedy) for one in chosen.left_out)
    for line in describe(chosen, untested) if untested else ():
        typer.echo(line, err=True)
    required = None
    if names is None and untested:
        required = (*(task.name for task in chosen.tasks), *(task.task for task in untested))
        typer.echo(
            f"Without the rest a candidate can fail, and not pass; to pass it on these alone: --tasks {AUTO}", err=True
        )
    return Coverage(_expand(names or [AUTO], chosen), untested, required)


def named(tasks: str) -> list[str]:
    """Return the tasks that `--tasks` names, with what `auto` finds, for an evaluation alone."""
    names = split_names(tasks) or []
    return list(cover(tasks, base="").names) if AUTO in names else names


def describe(chosen: Chosen, untested: tuple[Untested, ...]) -> Iterator[str]:
    """Yield what is covered, quadrant by quadrant, and what to do about the rest."""
    covered = {task.quadrant for task in chosen.tasks} & set(QUADRANTS)
    yield f"{len(covered)} of {len(QUADRANTS)} quadrants can be tested:"
    for quadrant in (*QUADRANTS, None):
        tasks = ", ".join(task.name for task in chosen.tasks if task.quadrant == quadrant)
        if quadrant or tasks:
            yield f"  {quadrant or 'beside them':<11} {tasks or 'NOT TESTED'}"
    yield from lines(untested)


def _expand(names: list[str], chosen: Chosen) -> tuple[str, ...]:
    """Return the names with what `auto` stands for, each once."""
    return tuple(dict.fromkeys(one for name in names for one in (chosen.names if name == AUTO else (name,))))
