"""The texts of chosen samples, which a comparison does not hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from emt_core.files import read_columns, read_rows
from emt_core.runs import Task


def read_texts(task: Task, documents: Iterable[int], more: Mapping[str, pl.DataType] | None = None) -> dict[int, Any]:
    """Return row, input, target and answer of these documents; of several filters, those of the first.

    `row` is None where a sample does not log its row in the data set, `document` where its number is its only name.
    `more` names further fields to read.
    """
    wanted = sorted(documents)
    if not wanted:
        return {}
    schema: dict[str, pl.DataType] = {"doc_id": pl.Int64(), "row": pl.Int64()}
    schema |= {name: pl.String() for name in ("input", "target", "filtered_resps", "document")}
    chosen = pl.col("doc_id").is_in(wanted)
    rows = read_columns(task.samples, schema | dict(more or {}), lambda raw: raw.filter(chosen))
    first = next((row for _, row in read_rows(task.samples)), {})
    listed = isinstance(first.get("filtered_resps"), list)
    return {
        row["doc_id"]: row | {"answer": _unlist(row["filtered_resps"], listed)}
        for row in rows.unique("doc_id", keep="first", maintain_order=True).iter_rows(named=True)
    }


def rows_are_documents(task: Task) -> bool:
    """Whether a document's number is its row in the data set: no hook of the task has chosen among the rows."""
    return task.config.get("process_docs") is None


def _unlist(text: str | None, listed: bool) -> str:
    """Return the answer as text; lmms-eval logs some tasks' answers as a list of one."""
    if not listed or text is None:
        return text or ""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # this one is no list
        return text
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else text
