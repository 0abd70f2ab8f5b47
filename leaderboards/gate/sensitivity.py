"""How large a judge's error, on the candidate's answers alone, would turn a unit's verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from leaderboards.comparison.forgetting import Scores
from leaderboards.gate.decide import GateResult, Unit
from leaderboards.statistics.audit import AuditedSample, turning_error


@dataclass(frozen=True, slots=True)
class TurningError:
    """The smallest excess error that turns a verdict, in percentage points above the base's own.

    "false wrong": right answers of the candidate called wrong, which makes a failure; "false correct": wrong ones
    called right, which makes a pass.
    """

    kind: Literal["false wrong", "false correct"]
    points: float


def turning_errors(result: GateResult) -> dict[tuple[str, str], TurningError]:
    """Return it for each decided unit, by (kind, name), whose answers a judge judged and no audit has corrected."""
    return {
        (unit.kind, unit.name): error
        for unit, scores in _judged(result)
        if (error := _turning_error(unit, scores)) is not None
    }


def weakest(result: GateResult) -> str | None:
    """Say in one line which unit the smallest error of a judge would turn; None where no judge had a say."""
    errors = turning_errors(result)
    if not errors:
        return None
    (_, name), error = min(errors.items(), key=lambda item: (item[1].points, item[0]))
    mistake = "right answers for wrong" if error.kind == "false wrong" else "wrong answers for right"
    return (
        f"{name}: a judge that takes {error.points:.1f} points more of the candidate's {mistake} than of the base's "
        "would turn this verdict; emt audit sample makes sure"
    )


def _judged(result: GateResult) -> Iterator[tuple[Unit, Scores]]:
    comparison = result.comparison
    tasks = {task.task: task for task in comparison.tasks}
    groups = {group.name: group for group in comparison.quadrants}

    def judge_had_a_say(name: str) -> bool:
        generated = str(comparison.base.tasks[name].config.get("output_type", "")).startswith("generate")
        return generated and tasks[name].drift is not None and not isinstance(tasks[name].sample, AuditedSample)

    for unit in result.units:
        found = tasks.get(unit.name) if unit.kind == "task" else groups.get(unit.name)
        members = (unit.name,) if unit.kind == "task" else groups[unit.name].tasks if unit.name in groups else ()
        if found is not None and found.scores is not None and all(judge_had_a_say(name) for name in members):
            yield unit, found.scores


def _turning_error(unit: Unit, scores: Scores) -> TurningError | None:
    drop, accuracy = unit.drop, scores.candidate.estimate
    if drop is None or drop.lower is None or drop.upper is None or accuracy is None:
        return None
    if unit.outcome == "forgetting":
        error = turning_error((drop.lower - unit.fails_above) / 100, accuracy / 100)
        return None if error is None else TurningError("false wrong", 100 * error)
    if unit.outcome == "not inferior":
        error = turning_error((unit.margin - drop.upper) / 100, 1 - accuracy / 100)
        return None if error is None else TurningError("false correct", 100 * error)
    return None
