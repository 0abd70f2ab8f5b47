"""Forgetting: what a candidate lost compared with its base, per task, group and quadrant.

Rates are in percent, differences in percentage points; of a metric that does not go from 0 to 1, both are in its own
unit, as its scale says. Every number carries its n and its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from emt_core.frames import Tabular
from emt_core.looks import Look
from emt_core.runs import Run, tell_apart
from leaderboards.comparison.alike import Difference, accept, check_allowed, compare_settings
from leaderboards.comparison.breakdown import ClassComparison, Drift, Flips, compare_classes, count_flips, measure_drift
from leaderboards.comparison.leakage import find_leaked
from leaderboards.comparison.matrix import QUADRANTS, place
from leaderboards.comparison.pairing import Excluded, PairedTask, choose_tasks, only_in, pair_task
from leaderboards.comparison.samples import data_of, number_clusters
from leaderboards.comparison.scales import POINTS, Scale
from leaderboards.comparison.table import ComparisonRow, comparison_rows
from leaderboards.statistics import Interval, MeanOfSamples, PairedSample, holm, wilson_interval
from leaderboards.statistics.reliability import Reliability, reliability
from leaderboards.statistics.sequential import either_side, level_at


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of one kind of answer, in percent, before and after fine-tuning."""

    base: Interval
    candidate: Interval


@dataclass(frozen=True, slots=True)
class Scores:
    """The results of two models on the same documents, and of an encoder if given.

    `retention` is candidate / base in percent; `encoder_gap` and `encoder_gap_base` are the encoder's accuracy minus
    the candidate's and the base's.
    """

    base: Interval
    candidate: Interval
    forgetting: Interval
    retention: Interval
    encoder: Interval | None = None
    encoder_gap: Interval | None = None
    encoder_gap_base: Interval | None = None


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """One task. `sample` and `scores` are None if no document was scored by both models.

    `n` counts the documents compared, `documents` all of them. `p_value` tests "nothing changed", by `test`;
    `adjusted_p_value` is Holm's over all tasks. `leakage` counts the answers that name a
    label of the fine-tuning task and none of the task's own; `distracted` those that chose the wrong option that is the
    class's name (arXiv 2603.14493), if the task has one.
    `extremes` are the samples that would be, were the documents that one run alone scored all against the candidate, or
    all for it; None if there is no such document. `calibration` is that of both models' closed sets, None where the
    answers are generated. `data` names the data set: tasks that share it ask about the same documents. `look` is where
    a task stands that may have ended early: its tests and the drop's interval then hold at every look.
    """

    task: str
    quadrant: str | None
    version: str | None
    metric: str
    n: int
    documents: int
    excluded: Excluded
    sample: PairedSample | None
    scores: Scores | None
    p_value: float | None
    adjusted_p_value: float | None
    test: str | None
    flips: Flips
    leakage: Shares | None
    distracted: Shares | None
    drift: Drift | None
    classes: tuple[ClassComparison, ...]
    encoder_samples: tuple[PairedSample, PairedSample] | None = None
    extremes: tuple[PairedSample, PairedSample] | None = None
    data: str = ""
    calibration: tuple[Reliability, Reliability] | None = None
    scale: Scale = POINTS
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """The unweighted mean over the tasks of a group or a quadrant, independent unless they share a data set.

    `look` is the earliest of its tasks'.
    """

    name: str
    tasks: tuple[str, ...]
    n: int
    sample: MeanOfSamples
    scores: Scores
    extremes: tuple[MeanOfSamples, MeanOfSamples] | None = None
    scale: Scale = POINTS
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Comparison(Tabular):
    """A candidate against its base, over all tasks that both were evaluated on; a table of its tasks and quadrants.

    `differences` holds what is not alike in the two runs, `allowed` the names of those that the user accepts.
    """

    base: Run
    candidate: Run
    encoder: Run | None
    finetuned_on: str | None
    tasks: tuple[TaskComparison, ...]
    groups: tuple[GroupComparison, ...]
    quadrants: tuple[GroupComparison, ...]
    only_base: tuple[str, ...]
    only_candidate: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def without_mean(self) -> tuple[str, ...]:
        """The quadrants and groups whose tasks are scored on unlike scales: a mean would mean nothing."""
        scales = {task.task: task.scale for task in self.tasks}
        of_quadrants = ((name, [t.task for t in self.tasks if t.quadrant == name]) for name in QUADRANTS)
        named = [*of_quadrants, *self.base.groups.items()]
        return tuple(name for name, members in named if len({scales[task] for task in members if task in scales}) > 1)

    @property
    def row_type(self) -> type[ComparisonRow]:
        """What the table's rows are."""
        return ComparisonRow

    def table(self) -> list[ComparisonRow]:
        """Return a row for each task, then for each group and quadrant."""
        return comparison_rows(self)

    def _repr_html_(self) -> str:
        from leaderboards.report.notebook import of_compared  # which imports this

        return of_compared(self)


def compare(
    base: Run,
    candidate: Run,
    *,
    encoder: Run | None = None,
    tasks: Iterable[str] | None = None,
    matrix: Mapping[str, tuple[str, ...]] | None = None,
    metrics: Mapping[str, str] | None = None,
    finetuned_on: str | None = None,
    allow: Collection[str] = (),
    without: Mapping[str, Collection[int]] | None = None,
    progress: Callable[[str], None] = lambda _task: None,
) -> Comparison:
    """Compare two runs, document by document.

    Args:
        base: the model before fine-tuning.
        candidate: the model after it.
        encoder: the zero-shot vision encoder that both are built on.
        tasks: the tasks to compare; by default all that both runs share.
        matrix: the quadrants' tasks; by default as the tasks say.
        metrics: the metric to compare a task by; by default its first.
        finetuned_on: the task whose labels count as leakage.
        allow: names of differences between the runs that are accepted; see `alike`.
        without: documents of each task that are left out, such as those by which the candidate was chosen.
        progress: called with each task's name before it is read.

    Raises:
        UserError: the runs cannot be compared; the message says why.
    """
    base, candidate = tell_apart(base, candidate)
    chosen = choose_tasks(base, candidate, tasks)
    check_allowed(allow, base, candidate)
    differences = list(accept(compare_settings(base, candidate), allow))
    placed = place([base.tasks[name] for name in chosen], matrix)
    compared = []
    for task in chosen:
        progress(task)
        paired = pair_task(
            task,
            base,
            candidate,
            encoder=encoder,
            metric=(metrics or {}).get(task),
            allow=allow,
            without=(without or {}).get(task, ()),
        )
        differences += paired.differences
        compared.append(_compare_task(paired, placed.get(task), finetuned_on))
    adjusted = _adjust(compared)
    quadrants = [(name, tuple(task for task in chosen if placed.get(task) == name)) for name in QUADRANTS]
    # lmms-eval's sub-groups named like a quadrant are the quadrants, by our own definition.
    groups = [(name, members) for name, members in base.groups.items() if name.removesuffix("_lite") not in QUADRANTS]
    return Comparison(
        base=base,
        candidate=candidate,
        encoder=encoder,
        finetuned_on=finetuned_on,
        tasks=adjusted,
        groups=_compare_groups(groups, adjusted),
        quadrants=_compare_groups(quadrants, adjusted),
        only_base=only_in(base.tasks, candidate.tasks),
        only_candidate=only_in(candidate.tasks, base.tasks),
        differences=tuple(differences),
        allowed=tuple(allow),
    )


def _compare_task(paired: PairedTask, quadrant: str | None, finetuned_on: str | None) -> TaskComparison:
    frame = paired.frame
    base, candidate = (frame[f"{side}_score"].to_numpy() for side in ("base", "candidate"))
    sample = PairedSample.from_scores(base, candidate, number_clusters(frame))
    encoder_samples = _pair_with_encoder(frame)
    leaked = find_leaked(paired, finetuned_on)
    change = sample.p_no_change() if sample else None
    if change and paired.look:
        change = either_side(change[0], paired.look.number, paired.look.of), change[1]
    return TaskComparison(
        task=paired.task,
        extremes=_extremes(paired),
        data=data_of(paired.base),
        quadrant=quadrant,
        version=paired.base.version,
        metric=paired.metric,
        n=paired.paired,
        documents=paired.documents,
        excluded=paired.excluded,
        sample=sample,
        scores=_scores(sample, *(encoder_samples or (None, None)), scale=paired.scale, look=paired.look)
        if sample
        else None,
        p_value=change[0] if change else None,
        adjusted_p_value=None,
        test=change[1] if change else None,
        flips=count_flips(frame, leaked),
        leakage=_leakage(frame, leaked) if leaked else None,
        distracted=_distracted(frame),
        drift=measure_drift(frame) if paired.judged else None,
        classes=compare_classes(frame, sample, paired.scale) if sample else (),
        encoder_samples=encoder_samples,
        calibration=_calibration(frame),
        scale=paired.scale,
        look=paired.look,
    )


def _calibration(frame: pl.DataFrame) -> tuple[Reliability, Reliability] | None:
    known = frame.drop_nulls(["base_probability", "candidate_probability"])
    found = [
        reliability(known[f"{side}_probability"].to_list(), (known[f"{side}_score"] == 1).to_list())
        for side in ("base", "candidate")
    ]
    return (found[0], found[1]) if found[0] and found[1] else None


def _extremes(paired: PairedTask) -> tuple[PairedSample, PairedSample] | None:
    """Return the sample with the documents that one run alone scored: all against the candidate, and all for it."""
    if paired.one_sided.is_empty():
        return None
    samples = []
    for base, candidate in ((1.0, 0.0), (0.0, 1.0)):
        guessed = paired.one_sided.with_columns(
            pl.col("base_score").fill_null(base), pl.col("candidate_score").fill_null(candidate)
        )
        frame = pl.concat([paired.frame.select(guessed.columns), guessed])
        first, second = (frame[f"{side}_score"].to_numpy() for side in ("base", "candidate"))
        samples.append(PairedSample.from_scores(first, second, number_clusters(frame)))
    worst, best = samples
    return (worst, best) if worst and best else None


def _pair_with_encoder(frame: pl.DataFrame) -> tuple[PairedSample, PairedSample] | None:
    """Pair the encoder with the candidate and with the base, over the documents that all three scored."""
    known = frame.drop_nulls("encoder_score")
    encoder, clusters = known["encoder_score"].to_numpy(), number_clusters(known)
    pairs = [
        PairedSample.from_scores(encoder, known[f"{side}_score"].to_numpy(), clusters) for side in ("candidate", "base")
    ]
    return (pairs[0], pairs[1]) if pairs[0] and pairs[1] else None


def _scores(
    sample: PairedSample | MeanOfSamples,
    with_candidate: PairedSample | MeanOfSamples | None = None,
    with_base: PairedSample | MeanOfSamples | None = None,
    *,
    scale: Scale = POINTS,
    look: Look | None = None,
) -> Scores:
    span, low = scale.span, scale.low
    return Scores(
        base=sample.accuracy("base").scaled(span).shifted(low),
        candidate=sample.accuracy("candidate").scaled(span).shifted(low),
        forgetting=_drop(sample, look).scaled(span),
        retention=sample.retention(origin=scale.origin).scaled(100),
        encoder=with_candidate.accuracy("base").scaled(span).shifted(low) if with_candidate else None,
        encoder_gap=with_candidate.drop().scaled(span) if with_candidate else None,
        encoder_gap_base=with_base.drop().scaled(span) if with_base else None,
    )


def _drop(sample: PairedSample | MeanOfSamples, look: Look | None, level: float = 0.95) -> Interval:
    """Return the drop with its interval; at a look, one that holds at all of them together."""
    if look is None:
        return sample.drop(level=level)
    found = sample.drop(level=1 - 2 * level_at((1 - level) / 2, look.number, look.of))
    return replace(found, level=level, method=f"{found.method}, repeated")


def _leakage(frame: pl.DataFrame, leaked: Mapping[str, frozenset[int]]) -> Shares:
    def share(side: str) -> Interval:
        count = frame.select(pl.col("doc_id").is_in(sorted(leaked[side])).sum()).item()
        return wilson_interval(count, frame.height).scaled(100)

    return Shares(share("base"), share("candidate"))


def _distracted(frame: pl.DataFrame) -> Shares | None:
    known = frame.drop_nulls(["base_distracted", "candidate_distracted"])
    if known.is_empty():
        return None
    base, candidate = (int(known[f"{side}_distracted"].sum()) for side in ("base", "candidate"))
    return Shares(wilson_interval(base, known.height).scaled(100), wilson_interval(candidate, known.height).scaled(100))


def _adjust(tasks: list[TaskComparison]) -> tuple[TaskComparison, ...]:
    known = [task for task in tasks if task.p_value is not None]
    values = dict(zip((task.task for task in known), holm([task.p_value or 0.0 for task in known]), strict=True))
    return tuple(replace(task, adjusted_p_value=values.get(task.task)) for task in tasks)


def _compare_groups(
    groups: Iterable[tuple[str, tuple[str, ...]]], tasks: tuple[TaskComparison, ...]
) -> tuple[GroupComparison, ...]:
    """Average each group's tasks; groups without a compared task, or with unlike scales, are left out."""
    members = ((name, [task for task in tasks if task.task in wanted and task.sample]) for name, wanted in groups)
    return tuple(average(name, parts) for name, parts in members if len({task.scale for task in parts}) == 1)


def average(name: str, parts: Sequence[TaskComparison], mean: type[MeanOfSamples] = MeanOfSamples) -> GroupComparison:
    """Return the mean over tasks with a sample; those on one data set are not independent of each other."""
    data = tuple(task.data or task.task for task in parts)
    sample = mean(tuple(task.sample for task in parts if task.sample), data)
    encoders = [task.encoder_samples for task in parts if task.encoder_samples]
    complete = len(encoders) == len(parts)
    pairs = (
        [MeanOfSamples(tuple(pair[side] for pair in encoders), data) for side in (0, 1)] if complete else [None, None]
    )
    extremes = None
    if any(task.extremes for task in parts):
        sides = [task.extremes or (task.sample, task.sample) for task in parts if task.sample]
        worst, best = (mean(tuple(pair[side] for pair in sides), data) for side in (0, 1))
        extremes = worst, best
    look = min((task.look for task in parts if task.look), key=lambda look: look.number, default=None)
    names, scale = tuple(task.task for task in parts), parts[0].scale
    scores = _scores(sample, *pairs, scale=scale, look=look)
    return GroupComparison(name, names, sample.n, sample, scores, extremes, scale, look)
