"""The gate: a non-inferiority test per task and quadrant, and one of three verdicts.

Each unit, a task or a quadrant of several tasks, is tested twice against its margin at one-sided level α:

- not inferior: the drop is shown to be below the margin (its upper 1 − α bound is);
- forgetting: the drop is shown to be above it (the lower bound is), with Holm's correction over all units;
- undecided: neither, or less evidence than the policy asks for, or the two runs are not alike.

The candidate passes if every unit does. That needs no correction: a candidate that forgets in one unit passes with
probability at most α, since that one unit passes with no more (intersection-union test; Berger, Technometrics 24
(1982) 295–300). It fails if any unit does, and there Holm keeps the chance of failing a candidate that is within every
margin at α.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Literal

from leaderboards.comparison.alike import why_stopped
from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison
from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.gate.policy import Policy, check_names
from leaderboards.statistics import Interval, MeanOfSamples, PairedSample, holm
from leaderboards.statistics.interval import normal_quantile, tail
from leaderboards.statistics.paired import CORRECTION

Outcome = Literal["not inferior", "forgetting", "undecided"]

EXIT_CODES: dict[Outcome, int] = {"not inferior": 0, "forgetting": 1, "undecided": 2}

POWER = 0.8
"""The power for which the number of documents needed is computed."""

_LARGEST = 1e6
"""How many times larger a sample may be before the search for the number needed gives up."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One task or quadrant at the gate.

    `margin` and `drop` are in percentage points; `drop` is the interval that decides, of level 1 − 2α, so that each
    bound is a one-sided 1 − α bound. `p_not_inferior` and `p_forgetting` are the two tests' p-values,
    `p_forgetting_adjusted` Holm's. `needed` is the number of documents that would decide with 80 % power if the
    further ones behaved like these; None if it is decided or if no number would do.
    """

    name: str
    kind: Literal["task", "quadrant"]
    margin: float
    n: int
    drop: Interval | None
    p_not_inferior: float | None
    p_forgetting: float | None
    p_forgetting_adjusted: float | None
    outcome: Outcome
    reason: str
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """The gate's verdict, with what it rests on."""

    outcome: Outcome
    units: tuple[Unit, ...]
    policy: Policy
    comparison: Comparison

    @property
    def exit_code(self) -> int:
        """0 not inferior, 1 forgetting, 2 undecided."""
        return EXIT_CODES[self.outcome]


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
    evidence = [_task_evidence(task, comparison, policy) for task in comparison.tasks]
    blocked = {task.name for task in evidence if task.blocked is not None}
    evidence += [_quadrant_evidence(group, blocked, policy) for group in comparison.quadrants if len(group.tasks) > 1]
    required = policy.required if policy.required is not None else tuple(tasks or comparison.base.tasks)
    evidence += _absent_tasks(comparison, policy, required)
    if (stopped := why_stopped(comparison.differences)) is not None:
        evidence = [replace(unit, blocked=stopped, sample=None) for unit in evidence]
    units = tuple(_judge_units(evidence, policy))
    outcomes = {unit.outcome for unit in units}
    order: tuple[Outcome, ...] = ("forgetting", "undecided", "not inferior")
    return GateResult(next(outcome for outcome in order if outcome in outcomes), units, policy, comparison)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The evidence on a unit; the fields are those of `Unit`.

    `p_values` are those of "not inferior" and of "forgetting". `blocked` says why they must not be used, and is None
    if they may.
    """

    name: str
    kind: Literal["task", "quadrant"]
    margin: float
    n: int
    sample: PairedSample | MeanOfSamples | None
    drop: Interval | None
    p_values: tuple[float, float] | None
    blocked: str | None
    one_sided: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What identifies this unit: a task may have a quadrant's name."""
        return self.kind, self.name


def _task_evidence(task: TaskComparison, comparison: Comparison, policy: Policy) -> _Evidence:
    alone = any(group.name == task.quadrant and len(group.tasks) == 1 for group in comparison.quadrants)
    margin = policy.margin_of(task.task, task.quadrant, alone=alone)
    excluded = 100 * (task.documents - task.n) / task.documents if task.documents else 0.0
    blocked = None
    if excluded > policy.maximum_excluded:
        blocked = f"{excluded:.1f} % of its documents are missing or unscored, more than {policy.maximum_excluded:g} %"
    return _gather(task.task, "task", margin, task.n, task.sample, blocked, policy, task.extremes)


def _quadrant_evidence(group: GroupComparison, blocked_tasks: Set[str], policy: Policy) -> _Evidence:
    margin = policy.quadrants.get(group.name, policy.margin)
    blocking = next((task for task in group.tasks if task in blocked_tasks), None)
    blocked = None if blocking is None else f"its task {blocking} cannot be tested"
    return _gather(group.name, "quadrant", margin, group.n, group.sample, blocked, policy, group.extremes)


def _absent_tasks(comparison: Comparison, policy: Policy, required: Iterable[str]) -> Iterator[_Evidence]:
    """Yield the required tasks that were not compared, with the reason."""
    compared = {task.task for task in comparison.tasks}
    runs = {"base": comparison.base, "candidate": comparison.candidate}
    for task in required:
        if task not in compared:
            lacking = [name for name, run in runs.items() if task not in run.tasks]
            where = " and ".join(lacking) + " did not run it" if lacking else "it was left out of the comparison"
            margin = policy.margin_of(task, None, alone=False)
            yield _gather(task, "task", margin, 0, None, f"required, but {where}", policy)


def _gather(
    name: str,
    kind: Literal["task", "quadrant"],
    margin: float,
    n: int,
    sample: PairedSample | MeanOfSamples | None,
    blocked: str | None,
    policy: Policy,
    extremes: tuple[PairedSample, PairedSample] | tuple[MeanOfSamples, MeanOfSamples] | None = None,
) -> _Evidence:
    """Return a unit's evidence, which must hold for both `extremes`.

    `blocked` is the caller's reason to block it, which outranks any found here.
    """
    if sample is None:
        reason = blocked or "no document was scored by both models"
        return _Evidence(name, kind, margin, n, None, None, None, reason)
    bounds = sample.bounds(policy.alpha, correction=CORRECTION)
    p_values = sample.p_values(margin / 100)
    if bounds is None or p_values is None:
        reason = blocked or "too few documents or images to tell how far the scores spread"
        return _Evidence(name, kind, margin, n, sample, None, None, reason)
    if blocked is None and n < policy.minimum_n:
        blocked = f"{n} documents, fewer than the {policy.minimum_n} asked for"
    if blocked is None and (clusters := _fewest_clusters(sample)) < policy.minimum_clusters:
        blocked = f"questions about {clusters} images, fewer than the {policy.minimum_clusters} asked for"
    one_sided = 0
    if extremes is not None:
        one_sided = extremes[0].n - n
        worst, best = (side.p_values(margin / 100) for side in extremes)
        p_values = (max(p_values[0], worst[0]), max(p_values[1], best[1])) if worst and best else p_values
    drop = Interval(sample.difference, *bounds, n, 1 - 2 * policy.alpha, f"{sample.method}, corrected").scaled(100)
    return _Evidence(name, kind, margin, n, sample, drop, p_values, blocked, one_sided)


def _fewest_clusters(sample: PairedSample | MeanOfSamples) -> float:
    """Return the number of clusters of the task that has the fewest; infinite if documents come in none."""
    parts = sample.parts if isinstance(sample, MeanOfSamples) else (sample,)
    return min((part.clusters for part in parts if part.clusters is not None), default=inf)


def _judge_units(evidence: list[_Evidence], policy: Policy) -> Iterator[Unit]:
    """Yield every unit with its outcome, with Holm's correction over those that can be tested."""
    raw = {unit.key: unit.p_values[1] for unit in evidence if unit.blocked is None and unit.p_values is not None}
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    for unit in evidence:
        yield _judge(unit, adjusted.get(unit.key), max(len(adjusted), 1), policy)


def _judge(evidence: _Evidence, p_adjusted: float | None, tested: int, policy: Policy) -> Unit:
    """Return the unit with its verdict; `tested` is the number of units that Holm's correction covers."""
    p_not_inferior, p_forgetting = evidence.p_values or (None, None)
    outcome, reason = _outcome(evidence.blocked, p_not_inferior, p_adjusted, policy.alpha)
    if outcome == "undecided" and evidence.blocked is None and evidence.one_sided and evidence.sample is not None:
        alone = evidence.sample.p_values(evidence.margin / 100)
        if alone is not None and min(alone) < policy.alpha:
            reason = (
                f"{evidence.one_sided} documents that only one run scored could turn it: evaluate or judge them again "
                "(emt judge RUN -o NEW)"
            )
    needed = None
    # If documents are missing or unscored, more of the same would not help.
    more_would_help = evidence.blocked is None or evidence.n < policy.minimum_n
    if evidence.sample is not None and outcome == "undecided" and more_would_help:
        needed = _needed(evidence.sample, evidence.margin / 100, policy.alpha, tested)
    return Unit(
        name=evidence.name,
        kind=evidence.kind,
        margin=evidence.margin,
        n=evidence.n,
        drop=evidence.drop,
        p_not_inferior=p_not_inferior,
        p_forgetting=p_forgetting,
        p_forgetting_adjusted=p_adjusted,
        outcome=outcome,
        reason=reason,
        needed=None if needed is None else max(needed, policy.minimum_n),
    )


def _outcome(
    blocked: str | None, p_not_inferior: float | None, p_forgetting: float | None, alpha: float
) -> tuple[Outcome, str]:
    """Return a unit's outcome and the reason for it; `p_forgetting` is Holm's."""
    if blocked is not None:
        return "undecided", blocked
    if p_forgetting is not None and p_forgetting < alpha:
        return "forgetting", "the drop is shown to be above the margin"
    if p_not_inferior is not None and p_not_inferior < alpha:
        return "not inferior", "the drop is shown to be below the margin"
    return "undecided", "the drop may lie on either side of the margin"


def _needed(sample: PairedSample | MeanOfSamples, margin: float, alpha: float, units: int) -> int | None:
    """Return the n whose bound, widened for the power asked for, would clear the margin; None if none would.

    Forgetting is tested at α / units, which Holm's correction requires of the first.
    """
    upper = sample.difference < margin
    level = alpha if upper else alpha / units
    widened = tail(normal_quantile(level) + normal_quantile(1 - POWER), None)

    def clears(size: float) -> bool:
        bounds = sample.bounds(widened, correction=CORRECTION, size=size)
        return bounds is not None and (bounds[1] < margin if upper else bounds[0] > margin)

    if not clears(_LARGEST):
        return None
    low, high = 0.0, _LARGEST
    while high - low > 0.1 / sample.n:
        middle = (low + high) / 2
        low, high = (low, middle) if clears(middle) else (middle, high)
    return ceil(high * sample.n)
