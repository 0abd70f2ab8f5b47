"""The gate's result for people and machines: a table, JSON, JUnit XML. The same result gives the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emt_core.runs import Run
from judges.verdict import DISTRACTED
from leaderboards.comparison.alike import Difference, why_stopped
from leaderboards.comparison.forgetting import Comparison, GroupComparison, Scores, TaskComparison
from leaderboards.comparison.metrics import label
from leaderboards.comparison.scales import POINTS
from leaderboards.gate.decide import GateResult
from leaderboards.gate.sensitivity import TurningError, turning_errors, weakest
from leaderboards.gate.table import NOT_TESTED, GateRow, gate_rows
from leaderboards.gate.untested import lines
from leaderboards.statistics.audit import AuditedSample

WORST_CLASSES = 10
"""Classes that the JSON lists for a task, worst first."""

MARKS = {
    "not inferior": ("pass", "green"),
    "forgetting": ("FORGETTING", "bold red"),
    "undecided": ("?", "yellow"),
    NOT_TESTED: ("NOT TESTED", "bold yellow"),
}
"""Each verdict's word in a table, and its style."""

_TAGS = {"not inferior": "system-out", "forgetting": "failure", "undecided": "error", NOT_TESTED: "skipped"}
"""What JUnit calls each verdict."""

_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}

_WIDE = 110
"""Terminal columns from which the table also shows accuracies and flips."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def sentence(result: GateResult) -> str:
    """Return the verdict in one sentence, and one more where tasks were left out for lack of data."""
    return " ".join(filter(None, (_verdict(result), result.not_tested)))


def _verdict(result: GateResult) -> str:
    units = {outcome: [unit for unit in result.units if unit.outcome == outcome] for outcome in MARKS}
    names = {outcome: ", ".join(unit.name for unit in found) for outcome, found in units.items()}
    candidate = result.comparison.candidate.name
    if result.outcome == "forgetting":
        return f"FAIL: {candidate} forgot more than is allowed on {names['forgetting']}."
    if (stopped := why_stopped(result.comparison.differences)) is not None:
        return f"UNDECIDED: {stopped}."
    if result.outcome == "undecided":
        return f"UNDECIDED: not enough evidence on {names['undecided']}."
    count = len(result.units)
    return f"PASS: {candidate} is not inferior to {result.comparison.base.name} on any of {count} tasks and quadrants."


def print_table(result: GateResult, console: Console) -> None:
    """Print one row per unit, then what stays open, then the verdict; a narrow terminal gets fewer columns."""
    wide = console.width >= _WIDE
    confidence = f"{100 * (1 - result.policy.alpha):g} %"
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("task", overflow="fold")
    for column in ("quadrant", "n", "base", "candidate", "lost", "gained") if wide else ("n",):
        table.add_column(column, justify="left" if column == "quadrant" else "right")
    for column in ("forgetting", "margin"):
        table.add_column(column, justify="right", no_wrap=wide)
    table.add_column("verdict")
    for row in gate_rows(result):
        word, style = MARKS[row.verdict]
        margin = "" if row.margin is None else f"{row.margin:.4g}"
        cells = _wide_cells(row) if wide else [str(row.n)]
        table.add_row(escape(row.name), *cells, bounds(row), margin, f"[{style}]{word}[/]")
    console.print(table)
    explained = f"forgetting: {in_units(result)}, with one-sided {confidence} bounds{_failing(result)}"
    console.print(explained, style="dim", highlight=False)
    # If the output is not a terminal, whoever reads it wraps the lines.
    piped = not console.is_terminal
    for note in (*compared_by(result.comparison), *notes(result)):
        console.print(escape(note), highlight=False, soft_wrap=piped)
    console.print(escape(sentence(result)), highlight=False, soft_wrap=piped, style=MARKS[result.outcome][1])


def in_units(result: GateResult) -> str:
    """Say what drops and margins are counted in: percentage points, or which tasks have another unit."""
    others: dict[str, list[str]] = {}
    for unit in result.units:
        if unit.unit != POINTS.unit:
            others.setdefault(unit.unit, []).append(unit.name)
    named = [f"the unit of {unit} on {', '.join(names)}" for unit, names in others.items()]
    points = any(unit.unit == POINTS.unit for unit in result.units)
    return "; ".join((["percentage points"] if points else []) + named)


def notes(result: GateResult) -> Iterator[str]:
    """Yield a line for each thing that the table leaves open.

    Tasks without data, what is not alike in the runs, how many documents a check took that may end early, undecided
    units, excluded documents, audits, judge errors, unmatched tasks.
    """
    yield from lines(result.untested)
    stopped = why_stopped(result.comparison.differences)
    yield from map(_differs, result.comparison.differences)
    yield from _looks(result.comparison.tasks)
    for unit in result.units:
        if unit.outcome == "undecided" and unit.reason != stopped:
            needed = f"; {unit.needed}" if unit.needed else ""
            yield f"{unit.name}: {unit.reason}{needed}"
    for name in result.comparison.without_mean:
        yield f"{name}: no mean over its tasks, which are scored in unlike units"
    for task in result.comparison.tasks:
        parts = [f"{count} {name.replace('_', ' in ')}" for name, count in asdict(task.excluded).items() if count]
        if parts:
            yield f"{task.task}: {task.documents - task.n} of {task.documents} documents left out ({', '.join(parts)})"
        if isinstance(task.sample, AuditedSample):
            yield f"{task.task}: {task.sample.labelled} pairs of answers {task.sample.method}"
    if (line := weakest(result)) is not None:
        yield line
    if result.comparison.only_candidate:
        yield f"only the candidate ran {', '.join(result.comparison.only_candidate)}: not compared"


def compared_by(comparison: Comparison) -> Iterator[str]:
    """Yield a line for each metric: the tasks compared by it, and the option that chooses another."""
    tasks: dict[str, list[str]] = {}
    for task in comparison.tasks:
        tasks.setdefault(task.metric, []).append(task.task)
    for metric, names in tasks.items():
        yield f"compared by {label(metric)}: {', '.join(names)} (another: --metric {names[0]}=NAME)"


def _looks(tasks: Sequence[TaskComparison]) -> Iterator[str]:
    """Say where each task stands that may have ended early, and what its numbers then mean."""
    taken = [f"{task.task} {task.look.documents:,} of {task.look.most:,} ({task.look})" for task in tasks if task.look]
    if taken:
        yield f"documents taken: {', '.join(taken)}"
        yield (
            "sequential: the bounds of forgetting hold at every look together (repeated confidence intervals); those "
            "of accuracies and retention are of the documents taken"
        )


def _differs(found: Difference) -> str:
    weight = "stops the gate" if found.stops else "accepted" if found.allowed else ""
    return f"differs{weight and f' ({weight})'}: {found}"


def as_json(result: GateResult) -> str:
    """Return the result as JSON, keys in a fixed order; undefined numbers are null."""
    comparison, errors = result.comparison, turning_errors(result)
    data = {
        "verdict": result.outcome,
        "exit_code": result.exit_code,
        "sentence": sentence(result),
        "base": _describe(comparison.base),
        "candidate": _describe(comparison.candidate),
        "encoder": _describe(comparison.encoder) if comparison.encoder else None,
        "finetuned_on": comparison.finetuned_on,
        "policy": result.policy.model_dump(mode="json"),
        "units": [asdict(unit) | {"judge_error": _error(errors.get((unit.kind, unit.name)))} for unit in result.units],
        "tasks": [_task(task) for task in comparison.tasks],
        "quadrants": [_group(group) for group in comparison.quadrants],
        "groups": [_group(group) for group in comparison.groups],
        "only_base": comparison.only_base,
        "only_candidate": comparison.only_candidate,
        "untested": [asdict(task) for task in result.untested],
        "compared_by": list(compared_by(comparison)),
        "differences": [asdict(found) for found in comparison.differences],
        "notes": list(notes(result)),
    }
    return json.dumps(_rounded(data), indent=2, ensure_ascii=False, allow_nan=False)


def as_junit(results: Sequence[tuple[str, GateResult]]) -> str:
    """Return results as JUnit XML: a suite per named candidate, a case per unit.

    Forgetting is a failure, undecided an error. A task that was left out for lack of data is skipped, unless it is
    required.
    """
    root = ElementTree.Element("testsuites")
    for name, result in results:
        suite = ElementTree.SubElement(root, "testsuite", {"name": f"emt gate: {_printable(name)}"})
        cases = [_add_case(suite, row) for row in gate_rows(result)]
        suite.attrib |= {key: str(cases.count(tag)) for key, tag in _COUNTED.items()} | {"tests": str(len(cases))}
    for key in (*_COUNTED, "tests"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_case(suite: ElementTree.Element, row: GateRow) -> str:
    """Add a row's test case to a suite; returns the tag of its outcome."""
    tag = _TAGS[row.verdict]
    about = {"classname": f"emt.gate.{row.kind}", "name": _printable(row.name), "time": "0"}
    said = f"forgetting {bounds(row)} {row.unit}, {row.allowed}, n = {row.n}: {row.reason}"
    text = _printable(row.reason if tag == "skipped" else said)
    told = ElementTree.SubElement(ElementTree.SubElement(suite, "testcase", about), tag)
    if tag == "system-out":
        told.text = text
    else:
        told.attrib |= {"type": row.verdict, "message": text}
    return tag


def _wide_cells(row: GateRow) -> list[str]:
    rates = ["" if value is None else _number(value, row.digits) for value in (row.base, row.candidate)]
    flips = ["" if value is None else str(value) for value in (row.lost, row.gained)]
    return ["quadrant" if row.kind == "quadrant" else row.quadrant or "", str(row.n), *rates, *flips]


def _failing(result: GateResult) -> str:
    """Say what decides where that is not the margin alone, for the line below the table."""
    found = sorted({unit.fails_above for unit in result.units if unit.fails_above != unit.margin})
    above = " or ".join(f"{points:.4g}" for points in found)
    return f"; a bound below the margin passes, else one above {above} fails" if found else ""


def bounds(row: GateRow) -> str:
    """Return a row's forgetting with its bounds: "13.6 [12.3, 15.0]", "-" where there is none."""
    if row.forgetting is None and row.lower is None:
        return "-"
    estimate, lower, upper = (_number(value, row.digits) for value in (row.forgetting, row.lower, row.upper))
    return f"{estimate} [{lower}, {upper}]"


def _number(value: float | None, digits: int) -> str:
    # Adding 0 turns a rounded -0.0 into 0.0.
    return "-" if value is None else f"{round(value, digits) + 0:.{digits}f}"


def _describe(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "model": run.model_kind,
        "model_args": run.model_args,
        "results": run.path.name,
        "lmms_eval_version": run.results.get("lmms_eval_version"),
    }


def _error(error: TurningError | None) -> dict[str, Any] | None:
    return None if error is None else asdict(error)


def _audit(sample: AuditedSample) -> dict[str, Any]:
    names = ("verdicts differ", "verdicts agree, texts differ")
    strata = {name: asdict(stratum) for name, stratum in zip(names, sample.strata, strict=True)}
    return {"auditor": sample.auditor, "drop": 100 * sample.difference, "strata": strata}


def _task(task: TaskComparison) -> dict[str, Any]:
    sample = task.sample
    return {
        "task": task.task,
        "quadrant": task.quadrant,
        "version": task.version,
        "metric": task.metric,
        "unit": task.scale.unit,
        "n": task.n,
        "documents": task.documents,
        "excluded": asdict(task.excluded),
        "clusters": sample.clusters if sample else None,
        "design_effect": sample.design_effect if sample else None,
        "audit": _audit(sample) if isinstance(sample, AuditedSample) else None,
        **_scores(task.scores),
        "p_value": task.p_value,
        "adjusted_p_value": task.adjusted_p_value,
        "test": task.test,
        "flips": asdict(task.flips),
        "leakage": asdict(task.leakage) if task.leakage else None,
        DISTRACTED: asdict(task.distracted) if task.distracted else None,
        "drift_bits": asdict(task.drift) if task.drift else None,
        "worst_classes": [asdict(entry) for entry in task.classes[:WORST_CLASSES]],
    }


def _group(group: GroupComparison) -> dict[str, Any]:
    return {"name": group.name, "tasks": group.tasks, "n": group.n, **_scores(group.scores)}


def _scores(scores: Scores | None) -> dict[str, Any]:
    names = Scores.__dataclass_fields__
    return asdict(scores) if scores else dict.fromkeys(names)


def _rounded(value: Any) -> Any:
    """Return the data with numbers rounded to 10 digits: the last few depend on the order in which threads add up."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _printable(text: str) -> str:
    """Return the text without the control characters that XML forbids."""
    return _CONTROL.sub("�", text)
