"""CSV: one row a number, with everything that is known of it."""

from __future__ import annotations

import csv
from pathlib import Path

from leaderboards.exports.rows import Row, rows
from leaderboards.exports.settings import Settings, date, model_id
from leaderboards.summary import RunSummary

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


def write(summary: RunSummary, folder: Path, settings: Settings) -> None:
    """Write `results.csv`."""
    model, day = model_id(summary.run, settings), date(summary.run)
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(_cells(row, model, day) for row in rows(summary))


def _cells(row: Row, model: str, day: str | None) -> list[str | float | int | None]:
    lower, upper = row.bounds or (None, None)
    version = row.task.version if row.task else None
    judges = " ".join(row.judges)
    described = [model, row.kind, row.name, row.quadrant, row.metric]
    return [
        *described,
        row.value,
        lower,
        upper,
        row.rate.level,
        row.rate.method,
        row.rate.n,
        row.unscored,
        judges,
        version,
        day,
    ]
