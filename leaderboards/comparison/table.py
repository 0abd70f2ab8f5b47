"""Comparisons, runs and causes as tables: the rows of what `compare`, `summarise` and `find_causes` return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderboards.comparison.causes import Causes
    from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison
    from leaderboards.comparison.summary import GroupSummary, RunSummary, TaskSummary


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One task, group or quadrant of a comparison: accuracies in percent, `forgetting` in percentage points.

    `lower` and `upper` are the bounds of its 95 % interval; `p_value` tests "nothing changed", unadjusted.
    """

    name: str
    kind: str
    quadrant: str | None
    metric: str | None = field(metadata={"hidden": True})
    n: int
    base: float | None
    candidate: float | None
    forgetting: float | None
    lower: float | None
    upper: float | None
    lost: int | None
    gained: int | None
    p_value: float | None = field(metadata={"digits": 4, "small": True})


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One task, group or quadrant of a run, in percent; `lower` and `upper` are the accuracy's 95 % interval.

    `n` counts the scored samples, `unscored` the others.
    """

    name: str
    kind: str
    quadrant: str | None
    metric: str | None = field(metadata={"hidden": True})
    n: int
    unscored: int | None
    accuracy: float | None
    lower: float | None
    upper: float | None
    incorrect: float | None
    intrinsic: float | None
    extrinsic: float | None


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One cause of a task's losses: how many documents, their share of the lost ones in percent with its 95 % interval.

    `points` are the percentage points of the task's accuracy that were lost by it.
    """

    task: str
    cause: str
    documents: int
    share: float | None
    lower: float | None
    upper: float | None
    points: float


def comparison_rows(comparison: Comparison) -> list[ComparisonRow]:
    """Return a row for each task, then for each group and quadrant."""
    return [
        *(_compared(task) for task in comparison.tasks),
        *(_averaged(group, "group") for group in comparison.groups),
        *(_averaged(group, "quadrant") for group in comparison.quadrants),
    ]


def summary_rows(summary: RunSummary) -> list[SummaryRow]:
    """Return a row for each task, then for each group and quadrant."""
    return [
        *(_summed(task) for task in summary.tasks),
        *(_mean(group, "group") for group in summary.groups),
        *(_mean(group, "quadrant") for group in summary.quadrants),
    ]


def cause_rows(causes: Causes) -> list[CauseRow]:
    """Return a row for each cause."""
    found = list(causes.of.values())
    return [
        CauseRow(causes.task, cause, found.count(cause), share.estimate, share.lower, share.upper, causes.points(cause))
        for cause, share in causes.shares.items()
    ]


def _compared(task: TaskComparison) -> ComparisonRow:
    scores = task.scores
    return ComparisonRow(
        name=task.task,
        kind="task",
        quadrant=task.quadrant,
        metric=task.metric,
        n=task.n,
        base=scores.base.estimate if scores else None,
        candidate=scores.candidate.estimate if scores else None,
        forgetting=scores.forgetting.estimate if scores else None,
        lower=scores.forgetting.lower if scores else None,
        upper=scores.forgetting.upper if scores else None,
        lost=task.flips.lost,
        gained=task.flips.gained,
        p_value=task.p_value,
    )


def _averaged(group: GroupComparison, kind: str) -> ComparisonRow:
    scores = group.scores
    return ComparisonRow(
        name=group.name,
        kind=kind,
        quadrant=group.name if kind == "quadrant" else None,
        metric=None,
        n=group.n,
        base=scores.base.estimate,
        candidate=scores.candidate.estimate,
        forgetting=scores.forgetting.estimate,
        lower=scores.forgetting.lower,
        upper=scores.forgetting.upper,
        lost=None,
        gained=None,
        p_value=None,
    )


def _summed(task: TaskSummary) -> SummaryRow:
    errors = {kind: rate.estimate for kind, rate in task.errors.items()}
    return SummaryRow(
        name=task.task.name,
        kind="task",
        quadrant=task.quadrant,
        metric=task.metric,
        n=task.n,
        unscored=task.unscored,
        accuracy=task.accuracy.estimate if task.accuracy else None,
        lower=task.accuracy.lower if task.accuracy else None,
        upper=task.accuracy.upper if task.accuracy else None,
        incorrect=errors.get("incorrect"),
        intrinsic=errors.get("intrinsic"),
        extrinsic=errors.get("extrinsic"),
    )


def _mean(group: GroupSummary, kind: str) -> SummaryRow:
    return SummaryRow(
        name=group.name,
        kind=kind,
        quadrant=group.name if kind == "quadrant" else None,
        metric=None,
        n=group.n,
        unscored=None,
        accuracy=group.accuracy.estimate,
        lower=group.accuracy.lower,
        upper=group.accuracy.upper,
        incorrect=None,
        intrinsic=None,
        extrinsic=None,
    )
