"""Draw the pairs of an audit: all whose verdicts differ, and some of those that agree on different texts."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import polars as pl

from emt_core.errors import UserError
from emt_core.files import read_columns
from emt_core.runs import Run, Task
from leaderboards.audit.rows import KINDS, AuditRow, ImageReference, Kind
from leaderboards.comparison.alike import check_allowed
from leaderboards.comparison.pairing import PairedTask, choose_tasks, pair_task
from leaderboards.comparison.texts import read_texts, rows_are_documents
from leaderboards.report.images import recorded_data

SIZE = 300
"""Pairs drawn of each task's that agree on different texts."""


def draw(
    base: Run,
    candidate: Run,
    *,
    tasks: Iterable[str] | None = None,
    metrics: Mapping[str, str] | None = None,
    allow: Collection[str] = (),
    size: int = SIZE,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _task: None,
) -> list[AuditRow]:
    """Return an audit's rows, without labels, in random order within each task.

    Args:
        base: the model before fine-tuning.
        candidate: the model after it.
        tasks: the tasks to audit; all that both runs share where not given.
        metrics: as in `forgetting.compare`.
        allow: as in `forgetting.compare`.
        size: how many pairs of each task are drawn that agree on different texts.
        seed: of the draw and of the order of the two answers.
        progress: called with each task's name before it is read.

    Raises:
        UserError: the runs cannot be compared, or a task's scores are not right or wrong.
    """
    check_allowed(allow, base, candidate)
    rows = []
    for task in choose_tasks(base, candidate, tasks):
        progress(task)
        paired = pair_task(task, base, candidate, metric=(metrics or {}).get(task), allow=allow)
        rows += _draw_task(paired, size, seed)
    return rows


def stratify(paired: PairedTask) -> dict[int, Kind]:
    """Return the stratum of each document, "differ" or "agree"; those with equal texts are in none.

    Raises:
        UserError: a score is neither 0 nor 1.
    """
    if (
        not paired.frame.select(pl.all_horizontal(pl.col("base_score", "candidate_score").is_in([0.0, 1.0])))
        .to_series()
        .all()
    ):
        raise UserError(
            f"task {paired.task}: its scores are not just 0 and 1, and an audit asks whether an answer is right; "
            "leave it out with --tasks, or choose another metric with --metric"
        )
    texts = [_hash_texts(task) for task in (paired.base, paired.candidate)]
    frame = paired.frame.select("doc_id", "base_score", "candidate_score")
    frame = frame.join(texts[0], on="doc_id").join(texts[1], on="doc_id", suffix="_other")
    differ = pl.col("base_score") != pl.col("candidate_score")
    unlike = frame.filter(pl.col("text").ne_missing(pl.col("text_other")))
    strata = unlike.select("doc_id", pl.when(differ).then(pl.lit("differ")).otherwise(pl.lit("agree")))
    return dict(strata.sort("doc_id").iter_rows())


def _hash_texts(task: Task) -> pl.DataFrame:
    schema = {"doc_id": pl.Int64(), "filtered_resps": pl.String()}
    hashed = read_columns(task.samples, schema, lambda raw: raw.select("doc_id", text=pl.col("filtered_resps").hash()))
    return hashed.unique("doc_id", keep="first", maintain_order=True)


def _draw_task(paired: PairedTask, size: int, seed: int) -> list[AuditRow]:
    strata = stratify(paired)
    groups = {kind: [doc for doc, of in strata.items() if of == kind] for kind in KINDS}
    chance = random.Random(f"{seed} {paired.task}")
    drawn = {"differ": groups["differ"], "agree": chance.sample(groups["agree"], min(size, len(groups["agree"])))}
    chosen = drawn["differ"] + drawn["agree"]
    chance.shuffle(chosen)
    base = read_texts(paired.base, chosen, {"judge_target": pl.String()})
    candidate = read_texts(paired.candidate, chosen)
    file, own_rows = recorded_data(paired.base), rows_are_documents(paired.base)
    rows = []
    for doc in chosen:
        order = hashlib.sha256(f"{seed} {paired.task} {doc}".encode()).hexdigest()[:16]
        row = base[doc]["row"] if base[doc]["row"] is not None else doc if own_rows else None
        image = _NO_ROW if row is None else file if isinstance(file, str) else ImageReference(file=str(file), row=row)
        answers = (base[doc]["answer"], candidate[doc]["answer"])
        first, second = answers if int(order, 16) % 2 == 0 else answers[::-1]
        rows.append(
            AuditRow(
                task=paired.task,
                doc_id=doc,
                question=base[doc]["input"] or "",
                target=base[doc]["target"] or "",
                first=first,
                second=second,
                image=image,
                stratum=strata[doc],
                population=len(groups[strata[doc]]),
                drawn=len(drawn[strata[doc]]),
                order=order,
                judge_target=_object(base[doc]["judge_target"]),
            )
        )
    return rows


_NO_ROW = "the run does not say which row of the data set this is"


def _object(text: str | None) -> dict[str, Any] | None:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None
