"""The gate's result as a table: a row for each task and quadrant, and for each task that was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leaderboards.comparison.scales import POINTS
from leaderboards.gate.policy import Limits

if TYPE_CHECKING:
    from leaderboards.comparison.forgetting import TaskComparison
    from leaderboards.gate.decide import GateResult, Unit

NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class GateRow:
    """One task or quadrant at the gate: accuracies in percent, `forgetting` in percentage points.

    Of a metric that does not go from 0 to 1 both are in its own `unit`; `digits` decimals are worth showing.

    `lower` and `upper` are the bounds that decide, each one-sided. `verdict` is the gate's outcome, or `not tested` for
    a task that was left out for lack of data; `reason` says why.
    """

    name: str
    kind: str
    quadrant: str | None
    n: int
    base: float | None
    candidate: float | None
    lost: int | None
    gained: int | None
    forgetting: float | None
    lower: float | None
    upper: float | None
    margin: float | None
    fails_above: float | None = field(metadata={"hidden": True})
    verdict: str
    reason: str = field(metadata={"hidden": True})
    unit: str = field(default=POINTS.unit, metadata={"hidden": True})
    digits: int = field(default=POINTS.digits, metadata={"hidden": True})

    @property
    def allowed(self) -> str:
        """What may be lost, in words; empty for a task that was left out."""
        if self.margin is None or self.fails_above is None:
            return ""
        return Limits(self.margin, self.fails_above).allowed


def gate_rows(result: GateResult) -> list[GateRow]:
    """Return a row for each of the gate's units, then for each task that was left out and is not among them."""
    rows = [_row(unit, result) for unit in result.units]
    known = {unit.name for unit in result.units}
    nothing: dict[str, Any] = dict.fromkeys(
        ("base", "candidate", "lost", "gained", "forgetting", "lower", "upper", "margin", "fails_above")
    )
    return rows + [
        GateRow(
            name=task.task, kind="task", quadrant=task.quadrant, n=0, verdict=NOT_TESTED, reason=task.why, **nothing
        )
        for task in result.untested
        if task.task not in known
    ]


def _row(unit: Unit, result: GateResult) -> GateRow:
    task = _task(unit, result)
    groups = result.comparison.quadrants if unit.kind == "quadrant" else ()
    compared = task or next((group for group in groups if group.name == unit.name), None)
    scores = compared.scores if compared else None
    quadrant = unit.name if unit.kind == "quadrant" else task.quadrant if task else None
    return GateRow(
        name=unit.name,
        kind=unit.kind,
        quadrant=quadrant,
        n=unit.n,
        base=scores.base.estimate if scores else None,
        candidate=scores.candidate.estimate if scores else None,
        lost=task.flips.lost if task else None,
        gained=task.flips.gained if task else None,
        forgetting=unit.drop.estimate if unit.drop else None,
        lower=unit.drop.lower if unit.drop else None,
        upper=unit.drop.upper if unit.drop else None,
        margin=unit.margin,
        fails_above=unit.fails_above,
        verdict=unit.outcome,
        reason=unit.reason,
        unit=unit.unit,
        digits=unit.digits,
    )


def _task(unit: Unit, result: GateResult) -> TaskComparison | None:
    if unit.kind != "task":
        return None
    return next((task for task in result.comparison.tasks if task.task == unit.name), None)
