"""Results as a notebook shows them: in words, as a picture, as a table."""

from __future__ import annotations

from emt_core.frames import html_table, text
from leaderboards.comparison.forgetting import Comparison
from leaderboards.comparison.summary import RunSummary
from leaderboards.comparison.table import ComparisonRow, SummaryRow, comparison_rows, summary_rows
from leaderboards.gate.decide import GateResult
from leaderboards.gate.output import notes, sentence
from leaderboards.gate.table import GateRow, gate_rows
from leaderboards.report.forest import Forest, as_svg, of_comparison, of_gate, of_run


def of_gate_result(result: GateResult) -> str:
    """Return the verdict, the forgetting of each task with the bounds that decide, and what stays open."""
    left_open = "".join(f"<li>{text(note)}</li>" for note in notes(result))
    shown = _shown(sentence(result), of_gate(result), html_table(gate_rows(result), GateRow))
    return f"{shown}<ul>{left_open}</ul>" if left_open else shown


def of_compared(comparison: Comparison) -> str:
    """Return the forgetting of each task with its 95 % interval."""
    told = f"{comparison.candidate.name} compared with {comparison.base.name}"
    return _shown(told, of_comparison(comparison), html_table(comparison_rows(comparison), ComparisonRow))


def of_summary(summary: RunSummary) -> str:
    """Return the accuracy of each task with its 95 % interval."""
    return _shown(summary.run.name, of_run(summary), html_table(summary_rows(summary), SummaryRow))


def _shown(told: str, picture: Forest, table: str) -> str:
    return f"<p><strong>{text(told)}</strong></p>{as_svg(picture, standalone=False)}{table}"
