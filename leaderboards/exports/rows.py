"""One row per number: what every format takes from a run's summary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from emt_core.runs import Task
from leaderboards.comparison.metrics import label
from leaderboards.comparison.summary import GroupSummary, RunSummary, TaskSummary
from leaderboards.statistics import Interval

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class RateRow:
    """One rate, in percent, of a task, a quadrant or a group.

    `task` is None for the latter two; `unscored` counts the samples left out, and `judges` names the judges that
    gave the verdicts.
    """

    kind: Literal["task", "quadrant", "group"]
    name: str
    metric: str
    rate: Interval
    quadrant: str | None = None
    unscored: int | None = None
    judges: tuple[str, ...] = ()
    task: Task | None = None

    @property
    def value(self) -> float:
        """The estimate, rounded to its meaningful digits."""
        return round(self.rate.estimate or 0.0, _DIGITS)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval's two bounds, rounded as `value`; None if there is none."""
        if self.rate.lower is None or self.rate.upper is None:
            return None
        return round(self.rate.lower, _DIGITS) + 0.0, round(self.rate.upper, _DIGITS) + 0.0

    def note(self) -> str:
        """Say in a few words how sure the number is and where it comes from."""
        confidence = f"{100 * self.rate.level:g} % interval"
        ends = f"{confidence} {self.bounds[0]:.2f} to {self.bounds[1]:.2f} ({self.rate.method})" if self.bounds else ""
        parts = [f"{label(self.metric)} in percent", ends, f"n = {self.rate.n}"]
        parts += [f"{self.unscored} unscored"] if self.unscored else []
        parts += [f"judge: {', '.join(self.judges)}"] if self.judges else []
        parts += [f"task version {self.task.version}"] if self.task and self.task.version else []
        return "; ".join(part for part in parts if part)


def rows(summary: RunSummary, *, errors: bool = True) -> Iterator[RateRow]:
    """Yield each task's accuracy, its `errors` if wanted, and the accuracies of quadrants and groups."""
    for task in summary.tasks:
        yield from _task_rows(task, errors=errors)
    for group in summary.quadrants:
        yield _group_row("quadrant", group)
    for group in summary.groups:
        yield _group_row("group", group)


def _task_rows(task: TaskSummary, *, errors: bool) -> Iterator[RateRow]:
    rates: dict[str, Interval] = {task.metric: task.accuracy} if task.accuracy else {}
    rates |= task.errors if errors else {}
    for metric, rate in rates.items():
        yield RateRow("task", task.task.name, metric, rate, task.quadrant, task.unscored, task.judges, task.task)


def _group_row(kind: Literal["quadrant", "group"], group: GroupSummary) -> RateRow:
    return RateRow(kind, group.name, "accuracy", group.accuracy, group.name if kind == "quadrant" else None)
