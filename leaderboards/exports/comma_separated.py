"""CSV: one row per number, with everything known about it."""

from __future__ import annotations

import csv
from pathlib import Path

from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, date, model_id

COLUMNS = (
    "model",
    "kind",
    "name",
    "quadrant",
    "metric",
    "percent",
    "lower",
    "upper",
    "level",
    "method",
    "n",
    "unscored",
    "judge",
    "task_version",
    "date",
)
"""`percent` is the rate; `lower` and `upper` are its interval's bounds at `level`, by `method`."""


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write `results.csv`."""
    model, day = model_id(summary.run, settings), date(summary.run)
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(_cells(row) | {"model": model, "date": day} for row in rows(summary))


def _cells(row: RateRow) -> dict[str, str | float | int | None]:
    lower, upper = row.bounds or (None, None)
    return {
        "kind": row.kind,
        "name": row.name,
        "quadrant": row.quadrant,
        "metric": row.metric,
        "percent": row.value,
        "lower": lower,
        "upper": upper,
        "level": row.rate.level,
        "method": row.rate.method,
        "n": row.rate.n,
        "unscored": row.unscored,
        "judge": " ".join(row.judges),
        "task_version": row.task.version if row.task else None,
    }
