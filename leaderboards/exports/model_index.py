"""A model card whose front matter has the results as `model-index`, by huggingface_hub's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.markdown import render
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, dataset_id, model_id, split

_TASK_TYPE = "image-text-to-text"


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write `README.md`, with the results as a table too."""
    name = model_id(summary.run, settings)
    data = ModelCardData(
        model_name=name.split("/")[-1], eval_results=eval_results(summary, settings), pipeline_tag=_TASK_TYPE
    )
    body = f"# {name}\n\n## Evaluation\n\n{render(summary, settings)}"
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}").save(folder / "README.md")


def eval_results(summary: RunSummary, settings: ExportSettings) -> list[EvalResult]:
    """Return the run's numbers as entries of a `model-index`."""
    return [EvalResult(**_fields(row, settings)) for row in rows(summary) if row.task]


def _fields(row: RateRow, settings: ExportSettings) -> dict[str, Any]:
    assert row.task is not None
    interval = {"confidence_interval": list(row.bounds), "confidence_level": row.rate.level} if row.bounds else {}
    return {
        "task_type": _TASK_TYPE,
        "task_name": row.name,
        "dataset_type": dataset_id(row.task, settings) or row.name,
        "dataset_name": row.name,
        "dataset_config": row.name,
        "dataset_split": split(row.task),
        "metric_type": row.metric,
        "metric_name": row.note(),
        "metric_value": row.value,
        "metric_args": {"n": row.rate.n, "unscored": row.unscored, "interval": row.rate.method} | interval,
    }
