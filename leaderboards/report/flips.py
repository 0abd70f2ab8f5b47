"""A selection of the samples whose score changed, with the texts that a comparison lacks."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from emt_core.public_names import public_judge
from leaderboards.comparison.breakdown import LEAKAGE
from leaderboards.comparison.pairing import PairedTask
from leaderboards.comparison.texts import read_texts, rows_are_documents
from leaderboards.report.text import Excerpt, excerpt, printable

_REASON = 300
"""Characters of a judge's reason that are shown."""

_VERDICT = {"verdict": pl.Struct({name: pl.String() for name in ("reason", "judge")})}


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer and its verdict; `reason` is the judge's, if there was one."""

    text: Excerpt
    category: str
    reason: str
    judge: str


@dataclass(frozen=True, slots=True)
class Flip:
    """One document on which the two models' scores differ; `row` is its row in the data set, None if unknown.

    `name` is what another harness calls it, None where that is its number.
    """

    doc_id: int
    row: int | None
    direction: Literal["lost", "gained"]
    question: Excerpt
    target: Excerpt
    base: Answer
    candidate: Answer
    name: str | None = None


def read_flips(paired: PairedTask, most: int, leaked: Mapping[str, Set[int]] | None = None) -> list[Flip]:
    """Return at most `most` flipped samples of a task, lost ones first.

    The kinds of change (lost or gained, from which category to which) take turns, so that each is shown whatever
    `most` is; within a kind the documents are spread over the task. `leaked` names each side's leaking documents.
    """
    chosen = _choose(paired.frame, most)
    texts = {
        side: read_texts(task, chosen, _VERDICT if paired.judged else None)
        for side, task in (("base", paired.base), ("candidate", paired.candidate))
    }
    own_rows = rows_are_documents(paired.base)
    flips = []
    for doc_id, (direction, categories) in chosen.items():
        base, candidate = (texts[side][doc_id] for side in ("base", "candidate"))
        row = base["row"] if base["row"] is not None else doc_id if own_rows else None
        answers = {
            side: _answer(text, LEAKAGE if leaked and doc_id in leaked[side] else categories[side])
            for side, text in (("base", base), ("candidate", candidate))
        }
        name = printable((base["document"] or "")[:_REASON])
        question, target = excerpt(base["input"] or ""), excerpt(base["target"] or "")
        other = name if name not in ("", str(doc_id)) else None
        flips.append(Flip(doc_id, row, direction, question, target, name=other, **answers))
    return flips


def _choose(frame: pl.DataFrame, most: int) -> dict[int, tuple[Literal["lost", "gained"], dict[str, str]]]:
    """Return direction and categories of each chosen document, lost ones first, by document number."""
    kind = ["lost", "base_category", "candidate_category"]
    # Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4) scatters neighbouring documents.
    spread = (pl.col("doc_id").cast(pl.UInt64) * 2_654_435_769) % 2**32
    flipped = (
        frame.filter(pl.col("base_score") != pl.col("candidate_score"))
        .with_columns(lost=pl.col("base_score") > pl.col("candidate_score"), spread=spread)
        .sort("spread", "doc_id")
        .with_columns(turn=pl.int_range(pl.len()).over(kind))
        .sort("turn", *kind, descending=[False, True, False, False])
        .head(most)
        .sort("lost", "doc_id", descending=[True, False])
    )
    return {
        row["doc_id"]: (
            "lost" if row["lost"] else "gained",
            {side: row[f"{side}_category"] for side in ("base", "candidate")},
        )
        for row in flipped.iter_rows(named=True)
    }


def _answer(row: Mapping[str, Any], category: str) -> Answer:
    verdict = row.get("verdict") or {}
    reason = printable((verdict.get("reason") or "")[:_REASON])
    return Answer(excerpt(row["answer"]), category, reason, printable(public_judge(verdict.get("judge") or "")))
