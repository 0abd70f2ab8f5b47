"""A LaTeX table (booktabs): one row per task, quadrant or group."""

from __future__ import annotations

from pathlib import Path

from judges.verdict import ERRORS
from leaderboards.comparison.summary import RunSummary, TaskSummary
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, model_id
from leaderboards.statistics import Interval

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write `results.tex`."""
    (folder / "results.tex").write_text(render(summary, settings), encoding="utf-8")


def render(summary: RunSummary, settings: ExportSettings) -> str:
    """Return a `tabular` that needs the package booktabs."""
    tasks = {task.task.name: task for task in summary.tasks}
    listed = list(rows(summary, errors=False))
    body = [_line(row, tasks) for row in listed if row.task]
    means = [_line(row, tasks) for row in listed if not row.task]
    head = " & ".join(["", "$n$", "accuracy", *ERRORS, r"unscored \\"])
    lines = [
        f"% {_escape(model_id(summary.run, settings))}: percent, with 95 % intervals. Needs \\usepackage{{booktabs}}.",
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        *([r"\midrule", *means] if means else []),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def _line(row: RateRow, tasks: dict[str, TaskSummary]) -> str:
    errors = tasks[row.name].errors if row.task else {}
    name = _escape(row.name) if row.task else f"\\emph{{{_escape(row.name)}}}"
    kinds = [_rate(errors.get(kind)) for kind in ERRORS]
    unscored = "--" if row.unscored is None else str(row.unscored)
    return " & ".join([name, str(row.rate.n), _rate(row.rate), *kinds, unscored]) + r" \\"


def _rate(rate: Interval | None) -> str:
    if rate is None or rate.estimate is None:
        return "--"
    ends = (
        rf" {{\small [{rate.lower:.1f}, {rate.upper:.1f}]}}"
        if rate.lower is not None and rate.upper is not None
        else ""
    )
    return f"{rate.estimate:.1f}{ends}"


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
