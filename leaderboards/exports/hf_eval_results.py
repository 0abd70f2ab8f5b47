"""Hugging Face `.eval_results/*.yaml`: one file per data set, by huggingface_hub's own classes."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from emt_core.errors import UserError
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.rows import rows
from leaderboards.exports.settings import ExportSettings, dataset_id, date


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write a file for each data set; tasks whose data set on the hub is unknown are left out.

    Raises:
        UserError: no task's data set is known.
    """
    results = folder / ".eval_results"
    results.mkdir()
    for dataset, entries in _entries(summary, settings).items():
        file = results / f"{re.sub(r'[^A-Za-z0-9._-]+', '--', dataset)}.yaml"
        data = eval_result_entries_to_yaml(entries)
        file.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _entries(summary: RunSummary, settings: ExportSettings) -> dict[str, list[EvalResultEntry]]:
    entries: dict[str, list[EvalResultEntry]] = defaultdict(list)
    for row in rows(summary, errors=False):
        dataset = dataset_id(row.task, settings) if row.task else None
        if dataset is not None:
            entries[dataset].append(
                EvalResultEntry(
                    dataset_id=dataset, task_id=row.name, value=row.value, date=date(summary.run), notes=row.note()
                )
            )
    if not entries:
        task = next((task.task.name for task in summary.tasks), "TASK")
        raise UserError(
            f"{summary.run.path} names no data set on the hub, which this format needs: add --dataset {task}=ORG/NAME"
        )
    return dict(entries)
