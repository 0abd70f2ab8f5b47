"""The gate's verdict as Markdown: what a CI job shows beside it, a pull request, a model's card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leaderboards.comparison.scales import POINTS
from leaderboards.exports.markdown import escape, line
from leaderboards.gate.decide import GateResult
from leaderboards.gate.output import bounds, compared_by, in_units, notes, sentence
from leaderboards.gate.table import NOT_TESTED, GateRow, gate_rows
from leaderboards.report.forest import as_text, of_gate

_WORDS = {
    "not inferior": "✅ pass",
    "forgetting": "❌ **FORGETTING**",
    "undecided": "❓ undecided",
    NOT_TESTED: "⚠️ **NOT TESTED**",
}

_HEAD = ("task", "verdict", "forgetting", "margin", "base", "candidate", "lost", "gained", "n", "quadrant")
"""What matters first: on a narrow screen the rest is scrolled to."""


def as_markdown(results: Sequence[tuple[str, GateResult]]) -> str:
    """Return the verdict on each named candidate: in words, as a picture, as a table, with what stays open."""
    return "\n".join(part for name, result in results for part in _section(name, result))


def _section(name: str, result: GateResult) -> Iterator[str]:
    confidence = f"{100 * (1 - result.policy.alpha):g} %"
    yield f"## {_WORDS[result.outcome].replace('**', '')}: {escape(name)}\n"
    yield f"{escape(sentence(result))}\n"
    # A fence ends at a line of its own that begins with it: here each begins with a mark.
    yield f"```text\n{as_text(of_gate(result))}\n```\n"
    yield line(_HEAD)
    yield line(["---", "---", *["--:"] * (len(_HEAD) - 3), "---"])
    yield from (line(_cells(row)) for row in gate_rows(result))
    same = all(unit.unit == POINTS.unit for unit in result.units)
    means = "accuracies in percent" if same else "means likewise, accuracies in percent"
    yield f"\nForgetting in {escape(in_units(result))}, with one-sided {confidence} bounds; {means}.\n"
    for said in compared_by(result.comparison):
        yield f"{escape(said)}\n"
    left_open = list(notes(result))
    if left_open:
        yield "<details><summary>Left open</summary>\n"
        yield from (f"- {escape(note)}" for note in left_open)
        yield "\n</details>\n"


def _cells(row: GateRow) -> list[str]:
    accuracies = ("" if value is None else f"{value:.{row.digits}f}" for value in (row.base, row.candidate))
    flips = ("" if value is None else str(value) for value in (row.lost, row.gained))
    name = escape(row.name) if row.kind == "task" else f"*{escape(row.name)}* (mean)"
    margin = "" if row.margin is None else f"{row.margin:.4g}"
    # In one line each, so that a row is as high as its name.
    verdict, drop = (text.replace(" ", "\N{NO-BREAK SPACE}") for text in (_WORDS[row.verdict], escape(bounds(row))))
    return [name, verdict, drop, margin, *accuracies, *flips, str(row.n), row.quadrant or ""]
