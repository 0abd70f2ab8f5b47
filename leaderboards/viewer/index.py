"""The index of a check's samples: parquet files with what the page filters by, and the texts that it shows.

One row a document, base and candidate beside each other, in the order of their numbers. The row groups are small, so
that a page reads little; `search` holds all texts in lower case, so that a search reads nothing else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from emt_core.errors import UserError
from emt_core.files import replacing
from emt_core.folders import user_cache
from emt_core.runs import Task
from leaderboards.comparison.samples import Samples, read_samples
from leaderboards.comparison.texts import once_each, rows_are_documents, sink_texts
from leaderboards.statistics import PairedSample

SIDES = ("base", "candidate")

ROW_GROUP = 512
"""Rows that a page reads for one that it shows."""

PART = 16_384
"""Documents whose texts are held in memory at a time while an index is made."""

_CLASSES = 2000
"""Classes that the page offers to choose from, the most frequent ones."""

_REASON = 300
"""Characters of a judge's reason that are kept."""

_KEPT = 20
"""Indexes that are kept, the last used ones."""

_VERSION = 1

_VERDICT = {"verdict": pl.Struct({name: pl.String() for name in ("reason", "judge")})}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a task's samples are, in numbers.

    Rates are in percent and `drop` in percentage points, with its 95 % interval, over the documents that both sides
    scored, each by itself: the gate, which knows of clusters and of other tasks, decides. The others map each value
    that the page filters by to how often it occurs.
    """

    task: str
    documents: int
    scored: int
    base: float | None
    candidate: float | None
    drop: tuple[float | None, float | None, float | None]
    changes: Mapping[str, int]
    causes: Mapping[str, int]
    categories: Mapping[str, Mapping[str, int]]
    classes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Indexed:
    """One task's index: its parts, in order, and its facts."""

    parts: tuple[Path, ...]
    facts: Facts


def index_folder(sources: Sequence[Path]) -> Path:
    """Return the folder for the index of these files, another one where one of them has changed."""
    states = [(str(path.resolve()), found.st_size, found.st_mtime_ns) for path in sources for found in [path.stat()]]
    digest = hashlib.sha256(json.dumps([_VERSION, states]).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return user_cache() / "view" / digest


def drop_old(keep: Path) -> None:
    """Remove indexes but the last used ones; `keep` has just been used."""
    keep.mkdir(parents=True, exist_ok=True)
    keep.touch()
    for old in sorted(keep.parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def open_index(folder: Path, task: str) -> Indexed | None:
    """Return a task's index; None where it has not been made."""
    name = _file_name(task)
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        parts = tuple(folder / part for part in found.pop("parts"))
        facts = Facts(**(found | {"drop": tuple(found["drop"])}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Indexed(parts, facts) if all(part.is_file() for part in parts) else None


def make_index(folder: Path, base: Task, candidate: Task | None, causes: Mapping[int, str]) -> Indexed:
    """Write a task's index into a folder; `causes` are the lost documents'.

    Raises:
        UserError: the samples cannot be read, or the two runs asked about other documents.
    """
    table, judged = _scores(base, candidate)
    if causes:
        known = pl.DataFrame(
            {"doc_id": list(causes), "cause": list(causes.values())}, {"doc_id": pl.Int64(), "cause": pl.String()}
        )
        table = table.drop("cause").join(known, on="doc_id", how="left", maintain_order="left")
    sides: dict[str, Task] = {"base": base} | ({"candidate": candidate} if candidate else {})
    name = _file_name(base.name)
    parts = [folder / f"{name}-{number:03}.parquet" for number in range(max(1, -(-table.height // PART)))]
    facts = _facts(base.name, table, candidate is not None)
    with replacing([*parts, folder / f"{name}.json"]) as (*files, summary), TemporaryDirectory(dir=folder) as temporary:
        texts = {side: Path(temporary, side) for side in sides}
        for side, task in sides.items():
            sink_texts(task, texts[side], _VERDICT if judged else None)
        own_rows = {side: rows_are_documents(task) for side, task in sides.items()}
        for number, file in enumerate(files):
            part = _with_texts(table.slice(number * PART, PART), base.name, texts, own_rows, judged)
            part.write_parquet(file, compression="lz4", row_group_size=ROW_GROUP, statistics=False)
        data = asdict(facts) | {"parts": [part.name for part in parts]}
        summary.write_text(json.dumps(data), encoding="utf-8")
    return Indexed(tuple(parts), facts)


def _file_name(task: str) -> str:
    """Return a name for a task's files: tasks are named by whoever wrote the run."""
    return hashlib.sha256(task.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _scores(base: Task, candidate: Task | None) -> tuple[pl.DataFrame, bool]:
    """Return the documents of either side with scores, in the order of their numbers, and whether all are judged."""
    left = read_samples(base)
    right = read_samples(candidate, left.metric) if candidate else None
    if right is not None:
        _refuse_others(base.name, left, right)
    frames = [_side(left, "base"), _side(right or replace(left, frame=left.frame.clear()), "candidate")]
    joined = frames[0].join(frames[1], on="doc_id", how="full", coalesce=True).sort("doc_id")
    one, other = pl.col("base_score"), pl.col("candidate_score")
    change = (
        pl.when(one.is_null() | other.is_null()).then(pl.lit("one side"))
        .when(one > other).then(pl.lit("lost"))
        .when(one < other).then(pl.lit("gained"))
        .otherwise(pl.lit("same"))
    )  # fmt: skip
    joined = joined.with_columns(
        change=change,
        cause=pl.lit(None, pl.String),
        **{"class": pl.coalesce("base_class", "candidate_class")},
    ).drop("base_class", "candidate_class")
    return joined, left.judged and (right is None or right.judged)


def _side(samples: Samples, side: str) -> pl.DataFrame:
    kept = ("score", "category", "answer", "class")
    return samples.frame.select("doc_id", *(pl.col(name).alias(f"{side}_{name}") for name in kept))


def _refuse_others(task: str, left: Samples, right: Samples) -> None:
    both = left.frame.select("doc_id", "target").join(
        right.frame.select("doc_id", "target"), on="doc_id", suffix="_other"
    )
    unlike = both.filter(pl.col("target").ne_missing(pl.col("target_other"))).height
    if unlike or both.is_empty():
        what = f"{unlike} of {both.height} right answers differ" if unlike else "they share no document"
        raise UserError(f"task {task}: the two runs are not about the same documents ({what})")


def _with_texts(
    part: pl.DataFrame, name: str, files: Mapping[str, Path], own_rows: Mapping[str, bool], judged: bool
) -> pl.DataFrame:
    """Add the texts of a part's documents, from the files that `sink_texts` wrote."""
    chosen = pl.col("doc_id").is_between(part["doc_id"].min(), part["doc_id"].max())
    for side, file in files.items():
        texts = once_each(pl.scan_parquet(file, glob=False).filter(chosen).collect())
        if not judged:
            texts = texts.with_columns(verdict=pl.lit(None, _VERDICT["verdict"]))
        row = pl.coalesce("row", "doc_id") if own_rows[side] else pl.col("row")
        verdict = pl.col("verdict").struct
        part = part.join(
            texts.select(
                "doc_id",
                pl.col("input").alias(f"{side}_question"),
                pl.col("target").alias(f"{side}_target"),
                pl.col("answer").alias(f"{side}_text"),
                verdict.field("reason").str.slice(0, _REASON).alias(f"{side}_reason"),
                verdict.field("judge").alias(f"{side}_judge"),
                row.alias(f"{side}_row"),
            ),
            on="doc_id",
            how="left",
            maintain_order="left",
        )
    if "candidate" not in files:
        texts_of = ("question", "target", "text", "reason", "judge")
        part = part.with_columns(
            *(pl.lit(None, pl.String).alias(f"candidate_{field}") for field in texts_of),
            candidate_row=pl.lit(None, pl.Int64),
        )
    part = part.with_columns(
        task=pl.lit(name),
        **{field: pl.coalesce(f"base_{field}", f"candidate_{field}") for field in ("question", "target", "row")},
    )
    part = part.drop(f"{side}_{field}" for side in SIDES for field in ("question", "target", "row"))
    searched = ["question", "target", "base_text", "candidate_text"]
    return part.with_columns(search=pl.concat_str(searched, separator="\n", ignore_nulls=True).str.to_lowercase())


def _facts(task: str, table: pl.DataFrame, paired: bool) -> Facts:
    scored = table.drop_nulls(["base_score", "candidate_score"]) if paired else table.drop_nulls("base_score")
    base = scored["base_score"].mean()
    candidate = scored["candidate_score"].mean() if paired else None
    interval = None
    if paired and scored.height:
        scores = (scored[f"{side}_score"].to_numpy() for side in SIDES)
        sample = PairedSample.from_scores(*scores)
        interval = sample.drop().scaled(100) if sample else None
    drop = (interval.estimate, interval.lower, interval.upper) if interval else (None, None, None)
    return Facts(
        task=task,
        documents=table.height,
        scored=scored.height,
        base=_percent(base),
        candidate=_percent(candidate),
        drop=drop,
        changes=_counts(table["change"]),
        causes=_counts(table["cause"]),
        categories={side: _counts(table[f"{side}_category"]) for side in SIDES},
        classes=_counts(table["class"], _CLASSES),
    )


def _percent(share: Any) -> float | None:
    return None if share is None else 100 * float(share)


def _counts(values: pl.Series, most: int | None = None) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    counted = (
        values.drop_nulls().alias("value").value_counts(name="count").sort(["count", "value"], descending=[True, False])
    )
    return dict((counted if most is None else counted.head(most)).iter_rows())
