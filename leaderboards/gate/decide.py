"""The gate: a non-inferiority test per task and quadrant, and one of three verdicts.

Each unit, a task or a quadrant of several tasks, is tested twice at one-sided level α:

- not inferior: the drop is shown to be below the margin (its upper 1 − α bound is);
- forgetting: that is not shown, but the drop is shown to be above `fails_above` (the lower bound is), with Holm's
  correction over all units;
- undecided: neither, or less evidence than the policy asks for, or the two runs are not alike.

The candidate passes if every unit does. That needs no correction: a candidate that lost the margin in one unit passes
with probability at most α, since that one unit passes with no more (intersection-union test; Berger, Technometrics 24
(1982) 295–300). It fails if any unit does, and there Holm keeps the chance of failing a candidate that lost no more
than `fails_above` anywhere at α. The two limits are what acceptance sampling calls the rejectable and the acceptable
quality: one limit alone would leave most candidates undecided.

Where a check may end early, each unit is at a look: its two p-values are then the repeated ones, and its bounds those
of a repeated confidence interval (`leaderboards.statistics.sequential`). All of the above holds for them, however often
the gate has looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from emt_core.frames import Tabular
from emt_core.looks import Look
from leaderboards.comparison.alike import why_stopped
from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison
from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.comparison.scales import POINTS, Scale
from leaderboards.gate.needed import Needed, Plan
from leaderboards.gate.policy import Limits, Policy, check_names, check_units
from leaderboards.gate.table import GateRow, gate_rows
from leaderboards.gate.untested import Untested, in_short
from leaderboards.statistics import Interval, MeanOfSamples, PairedSample, holm
from leaderboards.statistics.paired import CORRECTION
from leaderboards.statistics.sequential import level_at, repeated_p_value

Outcome = Literal["not inferior", "forgetting", "undecided"]

EXIT_CODES: dict[Outcome, int] = {"not inferior": 0, "forgetting": 1, "undecided": 2}


@dataclass(frozen=True, slots=True)
class Unit:
    """One task or quadrant at the gate.

    `margin`, `fails_above`, `drop` and `detectable` are in the `unit` of the scores, percentage points for metrics
    from 0 to 1; `digits` is how many decimals are worth showing. `drop` is the interval that decides, of level 1 − 2α,
    so that each bound is a one-sided 1 − α bound. `p_not_inferior` and `p_forgetting` are the two tests' p-values,
    `p_forgetting_adjusted` Holm's. `detectable` is the smallest true drop that would be called forgetting with 80 %
    power. `needed` is for units that are undecided. `look` is where a unit stands that may have ended early: then the
    interval and the p-values hold at every look.
    """

    name: str
    kind: Literal["task", "quadrant"]
    margin: float
    fails_above: float
    n: int
    drop: Interval | None
    p_not_inferior: float | None
    p_forgetting: float | None
    p_forgetting_adjusted: float | None
    outcome: Outcome
    reason: str
    detectable: float | None = None
    needed: Needed | None = None
    unit: str = POINTS.unit
    digits: int = POINTS.digits
    look: Look | None = None

    @property
    def allowed(self) -> str:
        """What the unit may lose: its margin, and above what it fails where that is another number."""
        return Limits(self.margin, self.fails_above).allowed


@dataclass(frozen=True, slots=True)
class GateResult(Tabular):
    """The gate's verdict, with what it rests on; a table of its tasks and quadrants.

    `untested` are the tasks that were left out for lack of data.
    """

    outcome: Outcome
    units: tuple[Unit, ...]
    policy: Policy
    comparison: Comparison
    untested: tuple[Untested, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 not inferior, 1 forgetting, 2 undecided."""
        return EXIT_CODES[self.outcome]

    @property
    def row_type(self) -> type[GateRow]:
        """What the table's rows are."""
        return GateRow

    def table(self) -> list[GateRow]:
        """Return a row for each task and quadrant, then for each task that was left out."""
        return gate_rows(self)

    def _repr_html_(self) -> str:
        from leaderboards.report.notebook import of_gate_result  # which imports this

        return of_gate_result(self)

    @property
    def not_tested(self) -> str:
        """The sentence about what was left out for lack of data; empty where nothing was."""
        return in_short(self.untested, (group.name for group in self.comparison.quadrants))


def decide(comparison: Comparison, policy: Policy | None = None, *, tasks: Iterable[str] | None = None) -> GateResult:
    """Put a comparison through the gate.

    Args:
        comparison: the candidate against its base.
        policy: the margins and demands; by default the default policy.
        tasks: the tasks that the user asked to compare; if not given, every task of the base is required.

    Raises:
        UserError: the policy names a task or a quadrant that does not exist.
    """
    policy = policy or Policy()
    check_names(policy, {*comparison.base.tasks, *comparison.candidate.tasks}, QUADRANTS)
    check_units(policy, {task.task: task.scale for task in comparison.tasks})
    evidence = [task_evidence(task, comparison, policy) for task in comparison.tasks]
    blocked = {task.name for task in evidence if task.blocked is not None}
    evidence += [_quadrant_evidence(group, blocked, policy) for group in comparison.quadrants if len(group.tasks) > 1]
    required = policy.required if policy.required is not None else tuple(tasks or comparison.base.tasks)
    evidence += _absent_tasks(comparison, policy, required)
    if (stopped := why_stopped(comparison.differences)) is not None:
        evidence = [replace(unit, blocked=stopped, more_helps=False) for unit in evidence]
    judged = judge(evidence, policy)
    undecided = sum(ruling.outcome == "undecided" for ruling in judged)
    units = tuple(
        _unit(found, ruling, policy, tested=len(evidence), undecided=undecided)
        for found, ruling in zip(evidence, judged, strict=True)
    )
    return GateResult(overall(ruling.outcome for ruling in judged), units, policy, comparison)


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the verdict on the candidate: forgetting in one unit outweighs all, then an undecided one."""
    order: tuple[Outcome, ...] = ("forgetting", "undecided", "not inferior")
    found = set(outcomes)
    return next(outcome for outcome in order if outcome in found)


Sample = PairedSample | MeanOfSamples


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence on a unit; the fields are those of `Unit`.

    `p_values` are those of "not inferior" and of "forgetting"; None where there are none. `blocked` says why they must
    not be used, and is None if they may; `more_helps` is whether more documents would then change that. `one_sided`
    counts the documents that one run alone scored.
    """

    name: str
    kind: Literal["task", "quadrant"]
    limits: Limits
    n: int
    sample: Sample | None
    p_values: tuple[float, float] | None
    blocked: str | None
    more_helps: bool = True
    one_sided: int = 0
    scale: Scale = POINTS
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the tests say of a unit."""

    outcome: Outcome
    reason: str
    p_forgetting_adjusted: float | None


def gather(
    name: str,
    kind: Literal["task", "quadrant"],
    limits: Limits,
    n: int,
    sample: Sample | None,
    policy: Policy,
    *,
    blocked: str | None = None,
    extremes: tuple[Sample, Sample] | None = None,
    scale: Scale = POINTS,
    look: Look | None = None,
) -> Evidence:
    """Return a unit's evidence, which must hold for both `extremes`.

    `blocked` is the caller's reason to block it, which outranks any found here; `look` where the unit stands.
    """
    more_helps = blocked is None
    if sample is None:
        reason = blocked or "no document was scored by both models"
        return Evidence(name, kind, limits, n, None, None, reason, more_helps, 0, scale, look)
    p_values = _p_values(sample, limits, scale, look)
    if p_values is None:
        reason = blocked or "too few documents or images to tell how far the scores spread"
        return Evidence(name, kind, limits, n, sample, None, reason, more_helps, 0, scale, look)
    if blocked is None and n < policy.minimum_n:
        blocked = f"{n} documents, fewer than the {policy.minimum_n} asked for"
    if blocked is None and (clusters := _fewest_clusters(sample)) < policy.minimum_clusters:
        blocked = f"questions about {clusters} images, fewer than the {policy.minimum_clusters} asked for"
    one_sided = 0
    if extremes is not None:
        one_sided = extremes[0].n - n
        worst, best = (_p_values(side, limits, scale, look) for side in extremes)
        p_values = (max(p_values[0], worst[0]), max(p_values[1], best[1])) if worst and best else p_values
    return Evidence(name, kind, limits, n, sample, p_values, blocked, more_helps, one_sided, scale, look)


def judge(evidence: Sequence[Evidence], policy: Policy) -> list[Ruling]:
    """Return what the tests say of each unit, with Holm's correction over those that can be tested."""
    tested = [unit.p_values[1] for unit in evidence if unit.blocked is None and unit.p_values is not None]
    adjusted = iter(holm(tested))
    return [
        _rule(unit, next(adjusted) if unit.blocked is None and unit.p_values is not None else None, policy.alpha)
        for unit in evidence
    ]


def _rule(unit: Evidence, p_adjusted: float | None, alpha: float) -> Ruling:
    """Return a unit's outcome and the reason for it; `p_adjusted` is Holm's p-value of "forgetting"."""
    outcome: Outcome = "undecided"
    if unit.blocked is not None or unit.p_values is None:
        reason = unit.blocked or ""
    elif unit.p_values[0] < alpha:
        outcome, reason = "not inferior", "the drop is shown to be below the margin"
    elif p_adjusted is not None and p_adjusted < alpha:
        limit = "the margin" if unit.limits.fails_above == unit.limits.margin else f"{unit.limits.fails_above:.4g}"
        outcome, reason = "forgetting", f"the drop is shown to be above {limit}"
    elif (
        unit.one_sided
        and unit.sample
        and min(_p_values(unit.sample, unit.limits, unit.scale, unit.look) or (1.0,)) < alpha
    ):
        reason = (
            f"{unit.one_sided} documents that only one run scored could turn it: evaluate or judge them again "
            "(emt judge RUN -o NEW)"
        )
    else:
        reason = "the drop may lie on either side of the margin"
    return Ruling(outcome, reason, p_adjusted)


def _p_values(sample: Sample, limits: Limits, scale: Scale, look: Look | None) -> tuple[float, float] | None:
    """Return the p-values of "the drop is below the margin" and of "the drop is above `fails_above`"."""
    below = sample.p_values(limits.margin / scale.span)
    above = below if limits.fails_above == limits.margin else sample.p_values(limits.fails_above / scale.span)
    if below is None or above is None:
        return None
    if look is None:
        return below[0], above[1]
    return repeated_p_value(below[0], look.number, look.of), repeated_p_value(above[1], look.number, look.of)


def task_evidence(task: TaskComparison, comparison: Comparison, policy: Policy) -> Evidence:
    """Return a task's evidence."""
    alone = any(group.name == task.quadrant and len(group.tasks) == 1 for group in comparison.quadrants)
    base = task.scores.base.estimate if task.scores else task.scale.reach
    limits = policy.limits_of(task.task, task.quadrant, alone=alone, scale=task.scale, base=base)
    excluded = 100 * (task.documents - task.n) / task.documents if task.documents else 0.0
    blocked = None
    if excluded > policy.maximum_excluded:
        blocked = f"{excluded:.1f} % of its documents are missing or unscored, more than {policy.maximum_excluded:g} %"
    return gather(
        task.task,
        "task",
        limits,
        task.n,
        task.sample,
        policy,
        blocked=blocked,
        extremes=task.extremes,
        scale=task.scale,
        look=task.look,
    )


def _quadrant_evidence(group: GroupComparison, blocked_tasks: Set[str], policy: Policy) -> Evidence:
    blocking = next((task for task in group.tasks if task in blocked_tasks), None)
    blocked = None if blocking is None else f"its task {blocking} cannot be tested"
    limits = policy.limits_of_quadrant(group.name, scale=group.scale, base=group.scores.base.estimate)
    return gather(
        group.name,
        "quadrant",
        limits,
        group.n,
        group.sample,
        policy,
        blocked=blocked,
        extremes=group.extremes,
        scale=group.scale,
        look=group.look,
    )


def _absent_tasks(comparison: Comparison, policy: Policy, required: Iterable[str]) -> Iterator[Evidence]:
    """Yield the required tasks that were not compared, with the reason."""
    compared = {task.task for task in comparison.tasks}
    runs = {"base": comparison.base, "candidate": comparison.candidate}
    for task in required:
        if task not in compared:
            lacking = [name for name, run in runs.items() if task not in run.tasks]
            where = " and ".join(lacking) + " did not run it" if lacking else "it was left out of the comparison"
            limits = policy.limits_of(task, None, alone=False, base=100.0)
            yield gather(task, "task", limits, 0, None, policy, blocked=f"required, but {where}")


def _fewest_clusters(sample: Sample) -> float:
    """Return the number of clusters of the task that has the fewest; infinite if documents come in none."""
    parts = sample.parts if isinstance(sample, MeanOfSamples) else (sample,)
    return min((part.clusters for part in parts if part.clusters is not None), default=inf)


def _unit(evidence: Evidence, ruling: Ruling, policy: Policy, *, tested: int, undecided: int) -> Unit:
    """Return the unit with its ruling; `tested` is the number of units of the gate, `undecided` that of open ones."""
    sample, limits, scale, look = evidence.sample, evidence.limits, evidence.scale, evidence.look
    drop = detectable = needed = None
    alpha = policy.alpha if look is None else level_at(policy.alpha, look.number, look.of)
    if sample is not None and (bounds := sample.bounds(alpha, correction=CORRECTION)) is not None:
        level, method = 1 - 2 * policy.alpha, f"{sample.method}, corrected{'' if look is None else ', repeated'}"
        drop = Interval(sample.difference, *bounds, evidence.n, level, method).scaled(scale.span)
        plan = Plan(sample, limits, policy.alpha, tested, scale.span, look)
        detectable = plan.detectable()
        if ruling.outcome == "undecided" and evidence.more_helps:
            needed = plan.needed(undecided, at_least=policy.minimum_n)
    p_not_inferior, p_forgetting = evidence.p_values or (None, None)
    return Unit(
        name=evidence.name,
        kind=evidence.kind,
        margin=limits.margin,
        fails_above=limits.fails_above,
        n=evidence.n,
        drop=drop,
        p_not_inferior=p_not_inferior,
        p_forgetting=p_forgetting,
        p_forgetting_adjusted=ruling.p_forgetting_adjusted,
        outcome=ruling.outcome,
        reason=ruling.reason,
        detectable=detectable,
        needed=needed,
        unit=scale.unit,
        digits=scale.digits,
        look=look,
    )
