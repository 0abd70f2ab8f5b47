"""The gate: a non-inferiority test per task and quadrant, and one of three verdicts.

Each unit, a task or a quadrant of several tasks, is tested twice against its margin at one-sided level α:

- not inferior: the drop is shown to be below the margin (its upper 1 − α bound is);
- forgetting: the drop is shown to be above it (the lower bound is), with Holm's correction over all units;
- undecided: neither, or the evidence is less than the policy asks for.

The candidate passes if every unit does. That needs no correction: a candidate that forgets in one unit passes with
probability at most α, since that one unit passes with no more (intersection-union test; Berger, Technometrics 24
(1982) 295–300). It fails if any unit does, and there Holm keeps the chance of failing a candidate that is within every
margin at α.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison
from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.gate.policy import Policy, check_names
from leaderboards.statistics import Interval, MeanOfSamples, PairedSample, holm
from leaderboards.statistics.interval import normal_quantile, tail
from leaderboards.statistics.paired import CORRECTION

Outcome = Literal["not inferior", "forgetting", "undecided"]

EXIT_CODES: dict[Outcome, int] = {"not inferior": 0, "forgetting": 1, "undecided": 2}

POWER = 0.8
"""The power for which the number of documents needed is worked out."""

_LARGEST = 1e6
"""How many times larger a sample is looked at before the search for the number needed is given up."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One task or quadrant at the gate.

    `margin` and `drop` are in percentage points; `drop` is the interval that decides, of level 1 − 2α, so that each
    bound is a one-sided 1 − α bound. `p_not_inferior` and `p_forgetting` are the two tests' p-values,
    `p_forgetting_adjusted` Holm's. `needed` is the number of documents that would decide with 80 % power if the
    further ones fell like these; None where it is decided or where no number would do.
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
        policy: the margins and demands; the default policy where not given.
        tasks: the tasks that the user asked to compare; where not given, every task of the base must be there.

    Raises:
        UserError: the policy names a task or a quadrant that does not exist.
    """
    policy = policy or Policy()
    names = {*comparison.base.tasks, *comparison.candidate.tasks}
    check_names(policy, names, QUADRANTS)
    quadrants = [group for group in comparison.quadrants if len(group.tasks) > 1]
    units = [_task_unit(task, comparison, policy) for task in comparison.tasks]
    untested = [unit.name for unit in units if unit.reason]
    units += [_quadrant_unit(group, policy, untested) for group in quadrants]
    samples = [*(task.sample for task in comparison.tasks), *(group.sample for group in quadrants)]
    units = _settle(units, samples, policy)
    required = policy.required if policy.required is not None else tuple(tasks or comparison.base.tasks)
    compared = {task.task for task in comparison.tasks}
    units += [_absent(task, comparison, policy) for task in required if task not in compared]
    outcomes = {unit.outcome for unit in units}
    order: tuple[Outcome, ...] = ("forgetting", "undecided", "not inferior")
    return GateResult(next(outcome for outcome in order if outcome in outcomes), tuple(units), policy, comparison)


def _task_unit(task: TaskComparison, comparison: Comparison, policy: Policy) -> Unit:
    alone = any(group.name == task.quadrant and len(group.tasks) == 1 for group in comparison.quadrants)
    margin = policy.margin_of(task.task, task.quadrant, alone=alone)
    unit = _test(task.task, "task", margin, task.n, task.sample, policy)
    excluded = 100 * (task.documents - task.n) / task.documents if task.documents else 0.0
    if excluded > policy.maximum_excluded:
        reason = f"{excluded:.1f} % of its documents are missing or unscored, more than {policy.maximum_excluded:g} %"
        return replace(unit, reason=reason)
    return unit


def _quadrant_unit(group: GroupComparison, policy: Policy, untested: list[str]) -> Unit:
    margin = policy.quadrants.get(group.name, policy.margin)
    unit = _test(group.name, "quadrant", margin, group.n, group.sample, policy)
    blocking = [task for task in group.tasks if task in untested]
    return replace(unit, reason=f"its task {blocking[0]} cannot be tested") if blocking else unit


def _absent(task: str, comparison: Comparison, policy: Policy) -> Unit:
    lacking = [
        name for name, run in (("base", comparison.base), ("candidate", comparison.candidate)) if task not in run.tasks
    ]
    where = " and ".join(lacking) + " did not run it" if lacking else "it was left out of the comparison"
    margin = policy.margin_of(task, None, alone=False)
    return Unit(task, "task", margin, 0, None, None, None, None, "undecided", f"required, but {where}")


def _test(
    name: str,
    kind: Literal["task", "quadrant"],
    margin: float,
    n: int,
    sample: PairedSample | MeanOfSamples | None,
    policy: Policy,
) -> Unit:
    """Return the unit with its p-values; a `reason` says that they must not be used."""
    unit = Unit(name, kind, margin, n, None, None, None, None, "undecided", "")
    if sample is None:
        return replace(unit, reason="no document was scored by both models")
    bounds = sample.bounds(policy.alpha, correction=CORRECTION)
    p_values = sample.p_values(margin / 100)
    if bounds is None or p_values is None:
        return replace(unit, reason="too few documents or images to tell how far the scores spread")
    level = 1 - 2 * policy.alpha
    drop = Interval(sample.difference, *bounds, n, level, f"{sample.method}, corrected").scaled(100)
    unit = replace(unit, drop=drop, p_not_inferior=p_values[0], p_forgetting=p_values[1])
    if n < policy.minimum_n:
        return replace(unit, reason=f"{n} documents, fewer than the {policy.minimum_n} asked for")
    return unit


def _settle(units: list[Unit], samples: list[PairedSample | MeanOfSamples | None], policy: Policy) -> list[Unit]:
    """Give every unit its outcome, with Holm's correction over those that can be tested."""
    tested = [index for index, unit in enumerate(units) if not unit.reason]
    adjusted = dict(zip(tested, holm([units[index].p_forgetting or 0.0 for index in tested]), strict=True))
    settled = []
    for index, (unit, sample) in enumerate(zip(units, samples, strict=True)):
        if index in adjusted:
            unit = _outcome(replace(unit, p_forgetting_adjusted=adjusted[index]), policy)
        if sample is not None and unit.outcome == "undecided" and (index in adjusted or unit.n < policy.minimum_n):
            needed = _needed(sample, unit.margin / 100, policy.alpha, len(tested) or 1)
            unit = replace(unit, needed=None if needed is None else max(needed, policy.minimum_n))
        settled.append(unit)
    return settled


def _outcome(unit: Unit, policy: Policy) -> Unit:
    if unit.p_forgetting_adjusted is not None and unit.p_forgetting_adjusted < policy.alpha:
        return replace(unit, outcome="forgetting", reason="the drop is shown to be above the margin")
    if unit.p_not_inferior is not None and unit.p_not_inferior < policy.alpha:
        return replace(unit, outcome="not inferior", reason="the drop is shown to be below the margin")
    return replace(unit, reason="the drop may lie on either side of the margin")


def _needed(sample: PairedSample | MeanOfSamples, margin: float, alpha: float, units: int) -> int | None:
    """Return the n whose bound, widened for the power asked for, would clear the margin; None where none would.

    Forgetting is looked for at α / units, which Holm's correction asks of the first.
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
