"""Read a task's samples into a typed table, without holding the texts in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emt_core.errors import UserError, listed
from emt_core.files import read_columns, read_rows
from emt_core.runs import Task
from judges.verdict import CATEGORIES, DISTRACTED, JUDGED_BY, LIKELIHOOD
from leaderboards.comparison.metrics import Metric, choose, score_key, survey
from leaderboards.comparison.objects import CLUSTERS, GROUPS, SCORES, first_key, grade_text

__all__ = ["NONE", "SEVERAL", "Samples", "data_of", "number_clusters", "read_samples"]

NONE, SEVERAL = "(none)", "(several)"
"""The `answer` of a verdict that names no label, or more than one."""

_PEEK = 200
"""How many samples are read to see how a metric is logged."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One task's samples, sorted by `doc_id`, each once.

    Columns of `frame`: `doc_id`; `score`, better when higher, null where `unscored`; `category`; `answer`, the
    label that the answer names, null where the task logs no verdict; `class`, the document's class, null where there is
    none; `cluster`, null where every document is its own; `probability`, of a closed set's likeliest label, else null;
    `distracted`, 1 where the wrong option that is the class's name was chosen, else 0, null where the task has none;
    `target` and `prompt`, hashes of the texts. `judged` says whether the task logs verdicts: where it does not, the
    category is "correct" for a score of 1, else "incorrect". `judges` counts the verdicts of each judge. `judged_by`
    counts the judges that were asked, with their versions, as the column of that name has them (a cascade's verdicts
    are its rules' or its language model's); it is empty where not every sample logs its own. `metric` is what is
    compared, as `--metric TASK=NAME` takes it; `stated` is the range of scores that the user states.
    """

    metric: str
    judged: bool
    judges: Mapping[str, int]
    judged_by: Mapping[str, int]
    frame: pl.DataFrame
    stated: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a task logs its samples: what to read, and as what.

    `number` says that the metric is a bare number. Of an object, `score_key` is where its score stands, None where
    MMMU's answers are to be compared; `cluster_key` and `group_key` likewise.
    """

    metric: Metric
    number: bool
    score_key: str | None
    cluster_key: str | None
    group_key: str | None
    verdict: bool
    target: bool
    distractor: bool

    def schema(self) -> dict[str, pl.DataType]:
        schema: dict[str, pl.DataType] = {"doc_id": pl.Int64(), "target": pl.String(), "input": pl.String()}
        schema |= {name: pl.Float64() if self.number else pl.String() for name in self.metric.names}
        schema |= {"cluster": pl.String(), "group": pl.String(), JUDGED_BY: pl.String()}
        if self.verdict:
            schema["verdict"] = pl.String()  # decoded below: three times as fast as polars' reader of nested lists
        if self.distractor:
            schema[DISTRACTED] = pl.Float64()
        if self.target:
            schema["judge_target"] = pl.Struct({"kind": pl.String(), "class_name": pl.String()})
        return schema


def data_of(task: Task) -> str:
    """Name what a task's documents come from; equal for tasks that ask about the same ones."""
    names = ("dataset_path", "dataset_name", "dataset_kwargs", "test_split")
    return json.dumps([task.config.get(name) for name in names], sort_keys=True, default=str)


def read_samples(task: Task, metric: str | None = None) -> Samples:
    """Read one task's samples; `metric` is the one to compare, as `--metric TASK=NAME` takes it; else it is chosen.

    Raises:
        UserError: the file is cut off, is not JSON lines, lacks a metric or repeats a document.
    """
    layout = _layout(task, metric)
    frame = read_columns(task.samples, layout.schema(), lambda raw: _tabulate(raw, layout))
    _check(task, layout, frame)
    judges, judged_by = _count(frame["judge"]), _count(frame[JUDGED_BY])
    if sum(judged_by.values()) < frame.height:
        judged_by = {}
    samples = _once_each(task, frame.drop("judge"))
    return Samples(str(layout.metric), layout.verdict, judges, judged_by, samples, layout.metric.scores)


def _check(task: Task, layout: _Layout, frame: pl.DataFrame) -> None:
    """Refuse what only the whole file shows; the layout was found by its first samples, where the task logs verdicts.

    Raises:
        UserError: a sample has no number, no verdict, or a score outside the range that is stated.
    """
    if frame["doc_id"].null_count():
        raise UserError(f"{task.shown} has a sample without 'doc_id': it was not written by lmms-eval")
    low, high = layout.metric.scores or ((0.0, 1.0) if layout.verdict else (-inf, inf))
    bad = frame.filter((pl.col("score") < low) | (pl.col("score") > high) | pl.col("score").is_infinite())
    if not bad.is_empty():
        raise UserError(
            f"{task.shown}: metric {str(layout.metric)!r} is {bad['score'][0]:g} for doc_id {bad['doc_id'][0]}, "
            f"expected {low:g} to {high:g}; choose another with --metric {task.name}=NAME ({listed(task.metrics)})"
        )
    unjudged = frame.filter(~pl.col("category").is_in(CATEGORIES) | pl.col("category").is_null())
    if not unjudged.is_empty():
        raise UserError(
            f"{task.shown}: the verdict of doc_id {unjudged['doc_id'][0]} has no category, expected one of "
            f"{', '.join(CATEGORIES)}; run lmms-eval again"
        )


def number_clusters(frame: pl.DataFrame) -> NDArray[np.int64] | None:
    """Number each document's cluster from 0 on, by the columns `doc_id` and `cluster`; None if no two share one."""
    own = pl.concat_str(pl.lit("doc_id "), pl.col("doc_id"))
    names = pl.coalesce(pl.concat_str(pl.lit("cluster "), pl.col("cluster")), own)
    numbers = frame.select(names.rank("dense")).to_series().to_numpy().astype(np.int64) - 1
    return numbers if len(numbers) and int(numbers.max()) + 1 < len(numbers) else None


def _count(names: pl.Series) -> dict[str, int]:
    counts = names.drop_nulls().value_counts().rows()
    return {str(name): int(count) for name, count in sorted(counts)}


def _layout(task: Task, wanted: str | None) -> _Layout:
    peek = [row for _, row in islice(read_rows(task.samples), _PEEK)]
    if not peek:
        raise UserError(f"{task.shown} holds no samples: run lmms-eval again")
    judged = any(isinstance(v, dict) and v.get("category") in CATEGORIES for v in _values(peek, "verdict"))
    # Our own tasks log every metric for each sample; what others do, only the whole file shows.
    found = survey(task, peek if judged else (row for _, row in read_rows(task.samples)))
    metric = choose(task, found, wanted)
    objects = [value for name in metric.names for value in _values(peek, name) if isinstance(value, dict)]
    key = first_key(objects, (score_key(task), *SCORES)) if objects else score_key(task)
    cluster_key = task.config.get("cluster_key") or CLUSTERS.get(metric.names[0])
    distracted = _values(peek, DISTRACTED)
    return _Layout(
        metric=metric,
        number=found.plain.issuperset(metric.names),
        score_key=key,
        cluster_key=None if cluster_key is None else str(cluster_key),
        group_key=first_key(objects, GROUPS),
        verdict=judged,
        target=any(isinstance(value, dict) for value in _values(peek, "judge_target")),
        distractor=bool(distracted) and all(isinstance(value, int | float) for value in distracted),
    )


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows if row.get(name) is not None]


def _tabulate(raw: pl.LazyFrame, layout: _Layout) -> pl.LazyFrame:
    """Turn the fields as logged into the columns of `Samples.frame`, and the judge's name."""
    score, cluster = _score_and_cluster(layout)
    if layout.verdict:
        raw = _decode_verdicts(raw)
        category = pl.col("_category")
        score = pl.when(category == "unscored").then(None).otherwise(score)
    else:
        raw = raw.with_columns(pl.lit(None, pl.String).alias(name) for name in ("_answer", "_judge"))
        raw = raw.with_columns(_probability=pl.lit(None, pl.Float64))
        category = pl.when(score == 1).then(pl.lit("correct")).otherwise(pl.lit("incorrect"))
    return raw.select(
        "doc_id",
        score=score,
        unscored=score.is_null(),
        category=pl.when(score.is_null()).then(pl.lit("unscored")).otherwise(category),
        answer="_answer",
        judge="_judge",
        probability="_probability",
        judged_by=JUDGED_BY,
        cluster=cluster,
        distracted=pl.col(DISTRACTED) if layout.distractor else pl.lit(None, pl.Float64),
        target=pl.col("target").hash(),
        prompt=pl.col("input").hash(),
        **{"class": _class(layout)},
    )


def _score_and_cluster(layout: _Layout) -> tuple[pl.Expr, pl.Expr]:
    cluster = pl.col("cluster")
    # A number, true or false, or an object that holds the score under its key.
    metrics = [pl.col(name) for name in layout.metric.names]
    scores = metrics if layout.number else [_number(metric, layout.score_key) for metric in metrics]
    if not layout.number and layout.cluster_key:
        cluster = pl.coalesce(cluster, *_in_objects(layout, layout.cluster_key))
    score = pl.coalesce(scores).fill_nan(None)
    return 1 - score if layout.metric.direction == "lower" else score, cluster


def _in_objects(layout: _Layout, key: str) -> list[pl.Expr]:
    return [pl.col(name).str.json_path_match(f"$.{key}") for name in layout.metric.names]


def _number(metric: pl.Expr, key: str | None) -> pl.Expr:
    if key is None:
        return metric.map_elements(grade_text, return_dtype=pl.Float64)
    text = pl.coalesce(metric.str.json_path_match(f"$.{key}"), metric)
    return text.replace({"true": "1", "false": "0"}).cast(pl.Float64, strict=False)


def _decode_verdicts(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Add each verdict's category, judge and what it found; each step once, so that nothing is decoded twice."""
    matches = pl.List(pl.Struct({"label": pl.String()}))
    fields = pl.Struct({"category": pl.String(), "matches": matches, "judge": pl.String(), "confidence": pl.Float64()})
    verdict, labels = pl.col("_verdict").struct, pl.col("_labels")
    several = pl.when(labels.list.len() > 1).then(pl.lit(SEVERAL)).otherwise(pl.lit(NONE))
    return (
        raw.with_columns(_verdict=_objects(pl.col("verdict")).str.json_decode(fields))
        .with_columns(
            _category=verdict.field("category"),
            _judge=verdict.field("judge"),
            _probability=pl.when(verdict.field("judge") == LIKELIHOOD).then(verdict.field("confidence")),
            _labels=verdict.field("matches").list.eval(pl.element().struct.field("label")).list.unique(),
        )
        .with_columns(_answer=pl.when(labels.list.len() == 1).then(labels.list.first()).otherwise(several))
    )


def _objects(text: pl.Expr) -> pl.Expr:
    """Return what looks like a JSON object, null for all else, which cannot be decoded as one."""
    return pl.when(text.str.starts_with("{")).then(text)


def _class(layout: _Layout) -> pl.Expr:
    grouped = _in_objects(layout, layout.group_key) if layout.group_key and not layout.number else []
    group = pl.coalesce("group", *grouped)
    target = pl.coalesce(group, "target")
    if not layout.target:
        return target
    kind = pl.col("judge_target").struct.field("kind")
    name = pl.col("judge_target").struct.field("class_name")
    return (
        pl.when(kind == "classification")
        .then(target)
        .otherwise(pl.coalesce(pl.when(kind == "multiple_choice").then(name), group))
    )


def _once_each(task: Task, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the samples sorted by document; of a task with several filters, those of the first filter."""
    times = frame.group_by("doc_id").len()
    filters = max(1, len(task.filters))
    if filters > 1 and (times["len"] == filters).all():
        return frame.unique("doc_id", keep="first", maintain_order=True).sort("doc_id")
    twice = times.filter(pl.col("len") > 1).sort("doc_id")
    if not twice.is_empty():
        doc, count = twice.row(0)
        raise UserError(
            f"{task.shown} contains doc_id {doc} {count} times ({twice.height} documents are repeated): two runs "
            "wrote into one file; run lmms-eval again into a new folder"
        )
    return frame.sort("doc_id")
