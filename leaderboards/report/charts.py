"""From numbers to positions: axes, and the rows of the forest plot and of the bars.

Every horizontal position is a percentage of the chart's width and every vertical one is in pixels, so that a chart
fills any screen while its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from judges.verdict import ERRORS
from leaderboards.comparison.breakdown import LEAKAGE
from leaderboards.comparison.forgetting import TaskComparison
from leaderboards.comparison.scales import POINTS
from leaderboards.gate.decide import GateResult, Outcome
from leaderboards.report.text import number
from leaderboards.statistics import Interval

KINDS = (*ERRORS, LEAKAGE)
"""What a lost answer can have turned into, in the bars' order."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high` with ticks at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return a value's position in percent of the axis, kept within it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def text(self, tick: float) -> str:
        """Return a tick's label, with as many decimals as the ticks need."""
        step = self.ticks[1] - self.ticks[0]
        return number(tick, next(digits for digits in range(9) if abs(round(step, digits) - step) < 1e-9 * step))


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One task or quadrant of the forest plot, in its `unit`: percentage points, or that of a metric of another range.

    `decides` is the interval that the gate uses, `drop` the 95 % one; either may be unknown.
    """

    name: str
    quadrant: bool
    n: int
    margin: float
    allowed: str
    outcome: Outcome
    reason: str
    drop: Interval | None
    decides: Interval | None
    unit: str = POINTS.unit
    digits: int = POINTS.digits


@dataclass(frozen=True, slots=True)
class Forest:
    """The rows of one unit, and the axis that they share; `title` says what it counts."""

    title: str
    rows: tuple[ForestRow, ...]
    axis: Axis


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a bar: positions in percent of the axis, and what it stands for."""

    kind: str
    count: int
    start: float
    width: float
    share: float


@dataclass(frozen=True, slots=True)
class BarRow:
    """Where one task's lost answers went; shares are percent of the documents compared."""

    task: str
    n: int
    lost: int
    gained: int
    judged: bool
    segments: tuple[Segment, ...]


def make_axis(
    values: Iterable[float],
    *,
    include: Sequence[float] = (),
    least: float = 1e-6,
    within: tuple[float, float] | None = None,
    ticks: int = 6,
) -> Axis:
    """Return an axis that covers all values, is at least `least` wide and has about `ticks` round ticks.

    `within` are the bounds of what can be measured, which a widened axis does not exceed.
    """
    known = [*values, *include] or [0.0, 1.0]
    low, high = min(known), max(known)
    missing = least - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    if within is not None:
        shift = max(0.0, within[0] - low) - max(0.0, high - within[1])
        low, high = low + shift, high + shift
    step = _round_step((high - low) / max(1, ticks - 1))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple(step * index for index in range(first, last + 1)))


def _round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `rough`."""
    power: float = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def forest(result: GateResult) -> tuple[list[ForestRow], Axis]:
    """Return a row for each unit of the gate, quadrants last, and the axis that they share."""
    scores = {task.task: task.scores for task in result.comparison.tasks}
    groups = {group.name: group.scores for group in result.comparison.quadrants}
    rows = []
    for unit in result.units:
        found = (groups if unit.kind == "quadrant" else scores).get(unit.name)
        rows.append(
            ForestRow(
                name=unit.name,
                quadrant=unit.kind == "quadrant",
                n=unit.n,
                margin=unit.margin,
                allowed=unit.allowed,
                outcome=unit.outcome,
                reason=unit.reason,
                drop=found.forgetting if found else None,
                decides=unit.drop,
                unit=unit.unit,
                digits=unit.digits,
            )
        )
    return rows, _forest_axis(rows)


def forests(rows: Sequence[ForestRow]) -> list[Forest]:
    """Return a plot for each unit, since unlike units share no axis."""
    found = []
    for unit in dict.fromkeys(row.unit for row in rows):
        own = tuple(row for row in rows if row.unit == unit)
        found.append(Forest(forgetting_in(unit), own, _forest_axis(own)))
    return found


def forgetting_in(unit: str) -> str:
    """Return the title of an axis with drops in this unit."""
    return "forgetting, percentage points" if unit == POINTS.unit else f"forgetting, in the unit of {unit}"


def _forest_axis(rows: Sequence[ForestRow]) -> Axis:
    ends = [value for row in rows for drop in (row.drop, row.decides) if drop for value in drop.ends]
    return make_axis(ends, include=[0.0, *(row.margin for row in rows)])


def lost_answers(tasks: Sequence[TaskComparison]) -> tuple[list[BarRow], Axis]:
    """Return a bar for each task on which documents were compared, and the axis that they share."""
    known = [task for task in tasks if task.n]
    axis = make_axis([100 * task.flips.lost / task.n for task in known], include=[0.0], least=1.0)
    return [_bar(task, axis) for task in known], axis


def _bar(task: TaskComparison, axis: Axis) -> BarRow:
    segments, done = [], 0
    extra = sorted(set(task.flips.lost_to) - set(KINDS))
    for kind in (*KINDS, *extra):
        count = task.flips.lost_to.get(kind, 0)
        if count:
            start, end = axis(100 * done / task.n), axis(100 * (done + count) / task.n)
            segments.append(Segment(kind, count, start, round(end - start, 3), 100 * count / task.n))
            done += count
    judged = task.drift is not None
    return BarRow(task.task, task.n, task.flips.lost, task.flips.gained, judged, tuple(segments))
