"""Tasks that were left out for lack of data, and what a verdict on the others says of them: never nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Untested:
    """A task that was left out; `why` is the data set that it lacks, and what to do about that."""

    task: str
    quadrant: str | None
    why: str


def in_short(untested: Iterable[Untested], tested: Iterable[str]) -> str:
    """Return the sentence that goes behind a verdict, empty where nothing was left out.

    It names each quadrant of which no task was compared, and the other tasks; `tested` are the quadrants compared.
    """
    known = set(tested)
    empty = (task.quadrant if task.quadrant not in known and task.quadrant else task.task for task in untested)
    names = ", ".join(dict.fromkeys(empty))
    return f"NOT TESTED, for lack of data: {names}." if names else ""


def lines(untested: Sequence[Untested]) -> Iterator[str]:
    """Yield a line for each data set that is lacking, with the tasks that need it."""
    for why in dict.fromkeys(task.why for task in untested):
        tasks = [task for task in untested if task.why == why]
        named = ", ".join(f"{task.task} ({task.quadrant})" if task.quadrant else task.task for task in tasks)
        yield f"NOT TESTED: {named}: {why}"
