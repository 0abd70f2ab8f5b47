"""Read a task's samples into a typed table, without holding the texts in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from judges import CATEGORIES, UserError, one_line
from leaderboards.results import Task

if TYPE_CHECKING:
    import polars as pl
    from polars.datatypes import DataTypeClass

    Query = Callable[[pl.LazyFrame], pl.LazyFrame]

NONE, SEVERAL = "(none)", "(several)"
"""What `answer` holds for a verdict that names no label, or more than one."""

_PEEK = 200
"""Samples looked at to see how a metric is logged."""

_CHUNK = 50_000
"""Samples at a time where Python reads what polars cannot."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One task's samples, sorted by `doc_id`, each once.

    Columns of `frame`: `doc_id`; `score`, from 0 to 1, null where `unscored`; `category`; `answer`, the label that the
    answer names, null where the task logs no verdict; `class`, the document's class, null where there is none;
    `cluster`, null where every document is its own; `target` and `prompt`, hashes of the texts. `judged` says
    whether the task logs verdicts: where it does not, the category is "correct" for a score of 1, else "incorrect".
    `judges` names those whose verdicts they are.
    """

    metric: str
    judged: bool
    judges: frozenset[str]
    frame: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a task logs its samples: what to read, and as what."""

    metric: str
    number: bool
    score_key: str
    cluster_key: str | None
    verdict: bool
    target: bool

    def schema(self) -> dict[str, pl.DataType]:
        import polars as pl

        schema: dict[str, pl.DataType] = {"doc_id": pl.Int64(), "target": pl.String(), "input": pl.String()}
        schema[self.metric] = pl.Float64() if self.number else pl.String()
        schema["cluster"] = pl.String()
        if self.verdict:
            matches = pl.List(pl.Struct({"label": pl.String()}))
            schema["verdict"] = pl.Struct({"category": pl.String(), "matches": matches, "judge": pl.String()})
        if self.target:
            schema["judge_target"] = pl.Struct({"kind": pl.String(), "class_name": pl.String()})
        return schema


def read_samples(task: Task, metric: str | None = None) -> Samples:
    """Read one task's samples; `metric` names the per-sample metric to compare, where the first is not wanted.

    Raises:
        UserError: the file is cut off, is not JSON lines, lacks a metric from 0 to 1 or repeats a document.
    """
    import polars as pl

    layout = _layout(task, metric)
    frame = read_columns(task.samples, layout.schema(), lambda raw: raw.select(**_columns(layout)))
    if frame.is_empty():
        raise UserError(f"{task.samples} holds no samples")
    if frame["doc_id"].null_count():
        raise UserError(f"{task.samples} has a sample without 'doc_id': it was not written by lmms-eval")
    bad = frame.filter((pl.col("score") < 0) | (pl.col("score") > 1))
    if not bad.is_empty():
        raise UserError(
            f"{task.samples}: metric {layout.metric!r} is {bad['score'][0]:g} for doc_id {bad['doc_id'][0]}, expected "
            f"0 to 1; choose another with --metric {task.name}=NAME ({', '.join(task.metrics)})"
        )
    judges = frozenset(frame["judge"].drop_nulls().unique().to_list())
    return Samples(layout.metric, layout.verdict, judges, _once_each(task, frame.drop("judge")))


def read_columns(path: Path, schema: Mapping[str, pl.DataType], query: Query) -> pl.DataFrame:
    """Read some fields of a JSON lines file and apply a row-by-row `query` to them.

    polars reads the file as a stream, on all cores; where it cannot (NaN, a field of mixed types, a fault), Python
    does, slowly, and names the line of a fault.

    Raises:
        UserError: a line is no JSON object, or a field holds what cannot be read as its type.
    """
    import polars as pl

    try:
        return query(pl.scan_ndjson(path, schema=dict(schema))).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        frames = [query(chunk.lazy()).collect() for chunk in _read_chunks(path, schema)]
        return pl.concat(frames) if frames else query(pl.LazyFrame(schema=dict(schema))).collect()


def iterate_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each sample whole, as lmms-eval logged it.

    Raises:
        UserError: a line is no JSON object.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    raise UserError(f"{path} is cut off in line {number}, its last: run lmms-eval again") from error
                raise UserError(f"{path} line {number} is not JSON: {one_line(error)}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number}: expected an object, found {type(row).__name__}")
            yield row


def _layout(task: Task, wanted: str | None) -> _Layout:
    rows = list(islice(iterate_rows(task.samples), _PEEK))
    score_key = str(task.config.get("score_key", "score"))

    def values(name: str) -> list[Any]:
        return [row[name] for row in rows if row.get(name) is not None]

    verdicts = values("verdict")

    def usable(name: str) -> bool:
        scores = [value.get(score_key) if isinstance(value, dict) else value for value in values(name)]
        scores = [score for score in scores if score == score]  # NaN is no score
        if not scores:  # a judge that scored nothing yet logs its metrics, as null
            return bool(verdicts) and all(name in row for row in rows)
        return all(isinstance(score, bool | int | float) and 0 <= score <= 1 for score in scores)

    known = [name for name in task.metrics if usable(name) and task.higher_is_better.get(name) is not False]
    if not known and wanted is None:
        logged = ", ".join(task.metrics) or "none"
        raise UserError(
            f"{task.samples}: no metric is logged for each sample as a number from 0 to 1 (found: {logged})"
        )
    metric = wanted or known[0]
    if metric not in known:
        raise UserError(
            f"--metric {task.name}={metric}: not a per-sample number from 0 to 1; it has {', '.join(known)}"
        )
    cluster_key = task.config.get("cluster_key")
    return _Layout(
        metric=metric,
        number=all(isinstance(value, int | float) and not isinstance(value, bool) for value in values(metric)),
        score_key=score_key,
        cluster_key=None if cluster_key is None else str(cluster_key),
        verdict=bool(verdicts) and all(isinstance(v, dict) and v.get("category") in CATEGORIES for v in verdicts),
        target=any(isinstance(value, dict) for value in values("judge_target")),
    )


def _columns(layout: _Layout) -> dict[str, pl.Expr]:
    import polars as pl

    metric, cluster, target = pl.col(layout.metric), pl.col("cluster"), pl.col("target")
    if layout.number:
        score = metric
    else:  # a number, true or false, or an object that holds the score under its key
        inner = metric.str.json_path_match(f"$.{layout.score_key}")
        text = pl.coalesce(inner, metric)
        score = text.replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)
        if layout.cluster_key:
            cluster = pl.coalesce(cluster, metric.str.json_path_match(f"$.{layout.cluster_key}"))
    score = score.fill_nan(None)
    category = pl.when(score == 1).then(pl.lit("correct")).otherwise(pl.lit("incorrect"))
    answer: pl.Expr = pl.lit(None, pl.String)
    judge: pl.Expr = pl.lit(None, pl.String)
    if layout.verdict:
        verdict = pl.col("verdict").struct
        category, judge = verdict.field("category"), verdict.field("judge")
        labels = verdict.field("matches").list.eval(pl.element().struct.field("label")).list.unique()
        several = pl.when(labels.list.len() > 1).then(pl.lit(SEVERAL)).otherwise(pl.lit(NONE))
        answer = pl.when(labels.list.len() == 1).then(labels.list.first()).otherwise(several)
        score = pl.when(category == "unscored").then(None).otherwise(score)
    kind: pl.Expr = target
    if layout.target:
        fields = pl.col("judge_target").struct
        kind = (
            pl.when(fields.field("kind") == "classification")
            .then(target)
            .when(fields.field("kind") == "multiple_choice")
            .then(fields.field("class_name"))
        )
    unscored = score.is_null()
    return {
        "doc_id": pl.col("doc_id"),
        "score": score,
        "unscored": unscored,
        "category": pl.when(unscored).then(pl.lit("unscored")).otherwise(category),
        "answer": answer,
        "judge": judge,
        "class": kind,
        "cluster": cluster,
        "target": target.hash(),
        "prompt": pl.col("input").hash(),
    }


def _once_each(task: Task, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the samples sorted by document; of a task with several filters, those of the first filter."""
    import polars as pl

    times = frame.group_by("doc_id").len()
    filters = max(1, len(task.filters))
    if filters > 1 and (times["len"] == filters).all():
        return frame.unique("doc_id", keep="first", maintain_order=True).sort("doc_id")
    twice = times.filter(pl.col("len") > 1).sort("doc_id")
    if not twice.is_empty():
        doc, count = twice.row(0)
        raise UserError(
            f"{task.samples} holds doc_id {doc} {count} times ({twice.height} documents are repeated): two runs wrote "
            "into one file; run lmms-eval again into a new folder"
        )
    return frame.sort("doc_id")


def _read_chunks(path: Path, schema: Mapping[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    import polars as pl

    rows = iterate_rows(path)
    number = 0
    while chunk := list(islice(rows, _CHUNK)):
        columns: dict[str, list[Any]] = {name: [] for name in schema}
        for row in chunk:
            number += 1
            for name, dtype in schema.items():
                columns[name].append(_as(dtype, row.get(name), f"{path} sample {number}: field {name!r}"))
        yield pl.DataFrame(columns, schema=dict(schema), strict=False)


def _as(dtype: pl.DataType, value: Any, where: str) -> Any:
    """Return a JSON value as polars' own reader would: texts of whatever is not text, structs as far as asked for."""
    import polars as pl

    if value is None:
        return None
    if isinstance(dtype, pl.String):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(dtype, pl.Struct) and isinstance(value, dict):
        return {field.name: _as(_instance(field.dtype), value.get(field.name), where) for field in dtype.fields}
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [_as(_instance(dtype.inner), item, where) for item in value]
    if isinstance(dtype, pl.Int64) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(dtype, pl.Float64) and isinstance(value, int | float):
        return float(value)
    raise UserError(f"{where}: expected {str(dtype).lower()}, found {json.dumps(value, ensure_ascii=False)[:60]}")


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
