"""A single run: accuracy and kinds of error per task, group and quadrant, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emt_core.errors import UserError, listed
from emt_core.frames import Tabular
from emt_core.public_names import public_judge
from emt_core.runs import Run, Task
from judges.verdict import ERRORS
from leaderboards.comparison.matrix import QUADRANTS, place
from leaderboards.comparison.metrics import label
from leaderboards.comparison.samples import data_of, number_clusters, read_samples
from leaderboards.comparison.scales import POINTS, Scale, find_scale
from leaderboards.comparison.table import SummaryRow, summary_rows
from leaderboards.statistics import Interval, design_effect, mean_covariance, mean_interval, mean_of_intervals


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task of one run: rates in percent, the mean of a metric that is not from 0 to 1 in its own unit.

    `n` counts the scored samples, `unscored` the others; `errors` has each kind of error's rate, and is empty if
    the task logs no verdicts. `accuracy` is None if no sample was scored.
    """

    task: Task
    quadrant: str | None
    metric: str
    judges: tuple[str, ...]
    n: int
    unscored: int
    accuracy: Interval | None
    errors: Mapping[str, Interval]
    scale: Scale = POINTS


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """The unweighted mean over the tasks of a group or a quadrant, in percent."""

    name: str
    tasks: tuple[str, ...]
    n: int
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class RunSummary(Tabular):
    """The results of one run; a table of its tasks, groups and quadrants."""

    run: Run
    tasks: tuple[TaskSummary, ...]
    groups: tuple[GroupSummary, ...]
    quadrants: tuple[GroupSummary, ...]

    @property
    def row_type(self) -> type[SummaryRow]:
        """What the table's rows are."""
        return SummaryRow

    def table(self) -> list[SummaryRow]:
        """Return a row for each task, then for each group and quadrant."""
        return summary_rows(self)

    def _repr_html_(self) -> str:
        from leaderboards.report.notebook import of_summary  # which imports this

        return of_summary(self)


def summarise(
    run: Run,
    *,
    tasks: Iterable[str] | None = None,
    matrix: Mapping[str, tuple[str, ...]] | None = None,
    metrics: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _task: None,
) -> RunSummary:
    """Sum up a run's samples; `tasks` names those wanted, `matrix` and `metrics` are as in `forgetting.compare`.

    Raises:
        UserError: a task is not in the run; a samples file is faulty, or has no metric from 0 to 1.
    """
    chosen = list(run.tasks if tasks is None else dict.fromkeys(tasks))
    unknown = [name for name in chosen if name not in run.tasks]
    if unknown:
        raise UserError(f"{run.path} has no task {unknown[0]}; it has {listed(run.tasks)}")
    placed = place([run.tasks[name] for name in chosen], matrix)
    summaries = []
    for name in chosen:
        progress(name)
        summaries.append(_summarise_task(run.tasks[name], placed.get(name), (metrics or {}).get(name)))
    quadrants = [(name, tuple(task for task in chosen if placed.get(task) == name)) for name in QUADRANTS]
    groups = [(name, members) for name, members in run.groups.items() if name.removesuffix("_lite") not in QUADRANTS]
    return RunSummary(run, tuple(summaries), _average(groups, summaries), _average(quadrants, summaries))


def _summarise_task(task: Task, quadrant: str | None, metric: str | None) -> TaskSummary:
    samples = read_samples(task, metric)
    scored = samples.frame.filter(~pl.col("unscored"))
    clusters = number_clusters(scored)
    categories = scored["category"]
    scale = find_scale(label(samples.metric), [scored["score"]], samples.stated)
    return TaskSummary(
        task=task,
        quadrant=quadrant,
        metric=samples.metric,
        judges=tuple(sorted(map(public_judge, samples.judges))),
        n=scored.height,
        unscored=samples.frame.height - scored.height,
        accuracy=_mean(scored.select(scale.placed(pl.col("score"))).to_series(), clusters, scale),
        errors={
            kind: rate
            for kind in (ERRORS if samples.judged else ())
            if (rate := _mean((categories == kind).cast(pl.Float64), clusters)) is not None
        },
        scale=scale,
    )


def _mean(scores: pl.Series, clusters: NDArray[np.int64] | None, scale: Scale = POINTS) -> Interval | None:
    """Return the mean with its interval, in percent or the scale's unit; None if there is no score."""
    n = len(scores)
    if n == 0:
        return None
    values = scores.to_numpy()
    binary = bool(scores.is_in([0.0, 1.0]).all())
    count = None if clusters is None else int(clusters.max()) + 1
    variance = float(mean_covariance(values[:, None], clusters)[0, 0])
    effect = design_effect(values, clusters)
    mean = mean_interval(float(values.mean()), variance, n, binary=binary, clusters=count, effect=effect)
    return mean.scaled(scale.span).shifted(scale.low)


def _average(groups: Iterable[tuple[str, tuple[str, ...]]], tasks: Iterable[TaskSummary]) -> tuple[GroupSummary, ...]:
    found = {task.task.name: task for task in tasks}
    averaged = []
    for name, members in groups:
        parts = {
            member: accuracy
            for member in members
            if member in found and (accuracy := found[member].accuracy) is not None
        }
        if parts and len({found[member].scale for member in parts}) == 1:
            mean = mean_of_intervals(list(parts.values()), [data_of(found[member].task) for member in parts])
            averaged.append(GroupSummary(name, tuple(parts), mean.n, mean))
    return tuple(averaged)
