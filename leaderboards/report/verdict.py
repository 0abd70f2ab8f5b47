"""The verdict in one sentence that says what was found and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from leaderboards.comparison.alike import why_stopped
from leaderboards.gate.decide import GateResult, Outcome, Unit
from leaderboards.gate.output import MARKS
from leaderboards.report.text import bounds, listed, number, with_bounds

_WORDS: dict[Outcome, str] = {
    "not inferior": "No forgetting beyond the margin",
    "forgetting": "Forgetting",
    "undecided": "Undecided",
}

_NAMED = 3
"""How many units a sentence names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class VerdictText:
    """A gate's result for a reader: `word` for a glance, `worst` for a list, `sentence` for all of it."""

    outcome: Outcome
    word: str
    worst: str
    sentence: str


def describe(result: GateResult, candidate: str, base: str) -> VerdictText:
    """Say what the gate found of `candidate` against `base`."""
    say = {"forgetting": _forgetting, "undecided": _undecided, "not inferior": _not_inferior}[result.outcome]
    sentence = " ".join(filter(None, (say(result, candidate, base), result.not_tested)))
    return VerdictText(result.outcome, _WORDS[result.outcome], _worst(result), sentence)


def describe_all(results: Sequence[GateResult], base: str) -> str:
    """Say in one sentence what the gate found of several candidates."""
    outcomes = [result.outcome for result in results]
    found = {
        "forgot": outcomes.count("forgetting"),
        "stayed within the margin": outcomes.count("not inferior"),
        "remained undecided for lack of evidence": outcomes.count("undecided"),
    }
    parts = [f"{number} {what}" for what, number in found.items() if number]
    sure = f"{100 * (1 - results[0].policy.alpha):g} % confidence"
    return f"Of {len(results)} candidates compared with {base}, {listed(parts)} (each at {sure})."


def print_verdicts(told: Sequence[tuple[str, VerdictText]], console: Console) -> None:
    """Print one row per candidate: its label, the verdict, and what decided."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("candidate", "verdict", "decided by"):
        table.add_column(column, overflow="fold")
    for label, text in told:
        word, style = MARKS[text.outcome]
        table.add_row(escape(label), f"[{style}]{word}[/]", escape(text.worst))
    console.print(table)


def _worst(result: GateResult) -> str:
    """Name the unit that decided, with its drop."""
    if (stopped := why_stopped(result.comparison.differences)) is not None:
        return stopped
    unit = max(_units(result, result.outcome), key=lambda unit: (unit.drop is not None, _upper(unit), unit.name))
    if unit.drop is None:
        return f"{unit.name}: {unit.reason}"
    return f"{unit.name}: {with_bounds(unit.drop, unit.digits)} {unit.unit}, {unit.allowed}"


def _forgetting(result: GateResult, candidate: str, base: str) -> str:
    found = sorted(_units(result, "forgetting"), key=lambda unit: (-_estimate(unit), unit.name))
    named = [f"{unit.name}, {_drop(unit)} ({unit.allowed})" for unit in found[:_NAMED]]
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"{candidate} forgot, compared with {base}: {'; '.join(named)}{more}. A candidate that lost no more than "
        f"{_harmless(result)} would fail at most {_chance(result)} of the time."
    )


def _not_inferior(result: GateResult, candidate: str, base: str) -> str:
    worst = max(result.units, key=lambda unit: (_closeness(unit), unit.name))
    units = len(result.units)
    where = "the one task compared" if units == 1 else f"each of the {units} tasks and quadrants compared"
    return (
        f"{candidate} lost less than the margin against {base} on {where}; the closest call is {worst.name}, where it "
        f"lost at most {number(worst.drop.upper if worst.drop else None, worst.digits)} {worst.unit} of the "
        f"{worst.margin:.4g} allowed "
        f"({100 * (1 - result.policy.alpha):g} % confidence)."
    )


def _undecided(result: GateResult, candidate: str, base: str) -> str:
    if (stopped := why_stopped(result.comparison.differences)) is not None:
        return f"Whether {candidate} forgot cannot be told: {stopped}."
    found = _units(result, "undecided")
    unit = max(found, key=lambda unit: (unit.drop is not None, _closeness(unit), unit.name))
    several = f" and on {len(found) - 1} more" if len(found) > 1 else ""
    sentence = f"Not enough evidence to tell whether {candidate} forgot on {unit.name}{several}: {unit.reason}"
    if unit.drop is None:
        return f"{sentence}."
    needed = f"; {unit.needed}" if unit.needed else ""
    return f"{sentence}; compared with {base} it lost {_drop(unit)} ({unit.allowed}){needed}."


def _harmless(result: GateResult) -> str:
    allowed = {(unit.fails_above, unit.unit) for unit in result.units}
    if len(allowed) > 1:
        return "is allowed anywhere"
    ((most, name),) = allowed
    return f"{most:.4g} {name.removesuffix('s') if most == 1 and name == 'points' else name} anywhere"


def _units(result: GateResult, outcome: Outcome) -> list[Unit]:
    return [unit for unit in result.units if unit.outcome == outcome]


def _drop(unit: Unit) -> str:
    if unit.drop is None:
        return f"an unknown number of {unit.unit}"
    drop, digits = unit.drop, unit.digits
    return f"{number(drop.estimate, digits)} {unit.unit} ({100 * drop.level:g} % interval {bounds(drop, digits)})"


def _estimate(unit: Unit) -> float:
    return unit.drop.estimate if unit.drop and unit.drop.estimate is not None else 0.0


def _closeness(unit: Unit) -> float:
    """Return how far the drop may lie above the margin, in margins, so that units can be compared."""
    return (_upper(unit) - unit.margin) / (unit.margin or 1.0)


def _upper(unit: Unit) -> float:
    return unit.drop.upper if unit.drop and unit.drop.upper is not None else -100.0


def _chance(result: GateResult) -> str:
    return f"{100 * result.policy.alpha:g} %"
