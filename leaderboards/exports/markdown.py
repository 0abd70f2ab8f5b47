"""A Markdown table: one row per task, quadrant or group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from judges.verdict import ERRORS
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, date, model_id
from leaderboards.statistics import Interval

_HEAD = ("", "n", "accuracy", *ERRORS, "unscored")


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write `results.md`."""
    (folder / "results.md").write_text(render(summary, settings), encoding="utf-8")


def render(summary: RunSummary, settings: ExportSettings) -> str:
    """Return the table, with a line that explains its numbers."""
    errors = {task.task.name: task.errors for task in summary.tasks}
    lines = [line(_HEAD), line(("---", *["--:"] * (len(_HEAD) - 1)))]
    lines += [line(_cells(row, errors.get(row.name, {}))) for row in rows(summary, errors=False)]
    day = date(summary.run)
    when = f", evaluated on {day}" if day else ""
    about = f"{escape(model_id(summary.run, settings))}{when}: percent, with 95 % intervals; n counts scored samples."
    return "\n".join([*lines, "", about, ""])


def _cells(row: RateRow, errors: Mapping[str, Interval]) -> tuple[str, ...]:
    name = escape(row.name) if row.kind == "task" else f"*{escape(row.name)}* (mean)"
    kinds = [_rate(errors[kind]) if row.task and kind in errors else "–" for kind in ERRORS]
    return name, str(row.rate.n), _rate(row.rate), *kinds, "–" if row.unscored is None else str(row.unscored)


def _rate(rate: Interval) -> str:
    if rate.estimate is None:
        return "–"
    ends = f" ({rate.lower:.1f} to {rate.upper:.1f})" if rate.lower is not None and rate.upper is not None else ""
    return f"{rate.estimate:.1f}{ends}"


def line(cells: Sequence[str]) -> str:
    """Return a row of a table; its cells are escaped already."""
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Return somebody's text as it is to be read: one line, and nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_|[]<>&~#" else c for c in " ".join(text.split()))
