"""A task's YAML file for a user's own data set."""

from __future__ import annotations

import json

from emt_tasks.datasets.catalog import Dataset, Kind
from emt_tasks.tasks import registry

_ASKS: dict[Kind, str] = {
    "classification": "What type of object is in this photo?",
    "multiple_choice": "{{question}}",
    "short_answer": "{{question}}\nAnswer the question using a single word or phrase.",
}


def task_yaml(dataset: Dataset, name: str, ask: str | None = None, quadrant: str | None = None) -> str:
    """Return a complete lmms-eval task, with the settings and the metrics of all of our tasks.

    Args:
        dataset: what the task is evaluated on.
        name: the task's.
        ask: the question about each image, where `{{column}}` stands for a document's value; by default the question
            for this kind.
        quadrant: its place in the matrix.
    """
    asks = ask or _ASKS[dataset.kind].replace("{{question}}", f"{{{{{_question(dataset)}}}}}")
    base = (registry.FOLDER / "_base.yaml").read_text(encoding="utf-8")
    shared = base.partition("\n")[2].partition("metadata:")[0].rstrip()
    hooks = {
        "dataset_path": "path",
        "dataset_kwargs": "kwargs",
        "doc_to_visual": "image",
        "process_docs": "documents",
        "doc_to_target": "target",
        "process_results": "score",
    }
    lines = [
        f"# {asks.splitlines()[0]}",
        f"task: {name}",
        *(f"{key}: !function emt_tasks.tasks.hooks.{dataset.name}_{hook}" for key, hook in hooks.items()),
        f"test_split: {dataset.split}",
        f"doc_to_text: {json.dumps(asks, ensure_ascii=False)}",
        shared,
        "metadata:",
        "  version: 1.0",
        *([f"  quadrant: {quadrant}"] if quadrant else []),
    ]
    return "\n".join(lines) + "\n"


def _question(dataset: Dataset) -> str:
    """The Jinja expression of a document's question; where rows are lists, `question` replaces their column."""
    column = dataset.columns.question or "question"
    listed = dataset.kind == "short_answer" and column != "question"
    return f"{column} | default(question)" if listed else column
