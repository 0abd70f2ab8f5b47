"""The texts of chosen samples, which a comparison does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from emt_core.files import read_columns, read_rows, sink_columns
from emt_core.runs import Task

Query = Callable[[pl.LazyFrame], pl.LazyFrame]


def read_texts(task: Task, documents: Iterable[int], more: Mapping[str, pl.DataType] | None = None) -> dict[int, Any]:
    """Return row, input, target and answer of these documents; of several filters, those of the first.

    `row` is None where a sample does not log its row in the data set, `document` where its number is its only name.
    `more` names further fields to read.
    """
    wanted = sorted(documents)
    if not wanted:
        return {}
    chosen = pl.col("doc_id").is_in(wanted)
    schema, query = _fields(task, more)
    frame = read_columns(task.samples, schema, lambda raw: query(raw.filter(chosen)))
    return {row["doc_id"]: row for row in once_each(frame).iter_rows(named=True)}


def sink_texts(task: Task, file: Path, more: Mapping[str, pl.DataType] | None = None) -> None:
    """Write the texts of all samples to a parquet file, as `read_texts` has them; apply `once_each` to what is read."""
    sink_columns(task.samples, *_fields(task, more), file)


def once_each(frame: pl.DataFrame) -> pl.DataFrame:
    """Return each document once: of several filters, the first one's sample."""
    return frame.unique("doc_id", keep="first", maintain_order=True)


def _fields(task: Task, more: Mapping[str, pl.DataType] | None) -> tuple[dict[str, pl.DataType], Query]:
    """Return what to read of a task's samples, and how the answer is got from it."""
    schema: dict[str, pl.DataType] = {"doc_id": pl.Int64(), "row": pl.Int64()}
    schema |= {name: pl.String() for name in ("input", "target", "filtered_resps", "document")}
    first = next((row for _, row in read_rows(task.samples)), {})
    answer = pl.col("filtered_resps")
    if isinstance(first.get("filtered_resps"), list):
        answer = answer.map_elements(_unlist, return_dtype=pl.String)
    return schema | dict(more or {}), lambda raw: raw.with_columns(answer=answer.fill_null(""))


def rows_are_documents(task: Task) -> bool:
    """Whether a document's number is its row in the data set: no hook of the task has chosen among the rows."""
    return task.config.get("process_docs") is None


def _unlist(text: str) -> str:
    """Return the answer as text; lmms-eval logs some tasks' answers as a list of one."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # this one is no list
        return text
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else text
