"""Pair two runs by (task, doc_id), and refuse pairs that measure different things."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from emt_core.errors import UserError
from emt_core.runs import Run, Task
from leaderboards.comparison.samples import Samples, read_samples

PROMPT_FIELDS = (
    "doc_to_text",
    "doc_to_visual",
    "doc_to_choice",
    "lmms_eval_specific_kwargs",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "fewshot_split",
    "fewshot_config",
    "num_fewshot",
    "repeats",
)
GENERATION_FIELDS = ("output_type", "generation_kwargs")
SCORING_FIELDS = ("process_results", "doc_to_target", "filter_list", "process_docs")
"""What must be equal in both runs. The data set's location is not included: its documents are compared instead."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Excluded:
    """Documents that one of the two runs lacks, or could not score; they are left out."""

    missing_base: int = 0
    missing_candidate: int = 0
    unscored_base: int = 0
    unscored_candidate: int = 0


@dataclass(frozen=True, slots=True)
class PairedTask:
    """One task's samples in two runs, and in the encoder's if given.

    Columns of `frame`: `doc_id`, `class`, `cluster`, and for each side (`base`, `candidate`) its score, category and
    answer as `SIDE_score`, `SIDE_category`, `SIDE_answer`, for documents that both runs scored; `encoder_score`,
    null if the encoder was not given or has none. `documents` counts all documents of either run, `paired` those
    in the frame.
    """

    task: str
    base: Task
    candidate: Task
    metric: str
    judged: bool
    documents: int
    excluded: Excluded
    frame: pl.DataFrame

    @property
    def paired(self) -> int:
        """Documents that both runs scored."""
        return self.frame.height


def pair_task(
    task: str, base: Run, candidate: Run, *, encoder: Run | None = None, metric: str | None = None
) -> PairedTask:
    """Read one task of two runs and pair its documents.

    Raises:
        UserError: versions, prompts, generation settings, limits or documents differ; or a file is invalid.
    """
    first, second = base.tasks[task], candidate.tasks[task]
    _refuse_different_settings(base, candidate, first, second)
    left = read_samples(first, metric)
    right = read_samples(second, metric or left.metric)
    if left.metric != right.metric:
        raise UserError(
            f"task {task}: base is compared by {left.metric}, candidate by {right.metric}: name one with "
            f"--metric {task}=NAME:higher or NAME:lower"
        )
    _refuse_different_texts(task, left, right, prompts=True)
    if left.judges and right.judges and not left.judges & right.judges:
        judges = " and by ".join(", ".join(sorted(side.judges)) for side in (left, right))
        raise UserError(f"task {task}: judged by {judges}: rejudge one of the runs with emt judge")
    joined = _join(left, right)
    if encoder is not None and task in encoder.tasks:
        reference = read_samples(encoder.tasks[task], metric or left.metric)
        # The encoder is not prompted as an MLLM is; that its documents are the same is all that can be asked.
        _refuse_different_texts(task, left, reference, prompts=False)
        scores = reference.frame.select("doc_id", encoder_score="score")
        joined = joined.join(scores, on="doc_id", how="left", maintain_order="left")
    else:
        joined = joined.with_columns(encoder_score=pl.lit(None, pl.Float64))
    frame = joined.drop_nulls(["base_score", "candidate_score"])
    return PairedTask(
        task=task,
        base=first,
        candidate=second,
        metric=left.metric,
        judged=left.judged and right.judged,
        documents=max(joined.height, first.effective or 0),
        excluded=_count_excluded(joined, left, right, first.effective),
        frame=frame.drop("base_unscored", "candidate_unscored"),
    )


def _refuse_different_settings(base: Run, candidate: Run, first: Task, second: Task) -> None:
    def refuse(what: str, one: Any, other: Any) -> None:
        raise UserError(
            f"task {first.name}: {what} differs between base and candidate, {_short(one)} and {_short(other)}: "
            f"evaluate both the same way ({base.path.parent} and {candidate.path.parent})"
        )

    if first.version != second.version:
        refuse("the version", first.version, second.version)
    for kind, fields in (
        ("the prompt", PROMPT_FIELDS),
        ("the generation", GENERATION_FIELDS),
        ("the scoring", SCORING_FIELDS),
    ):
        for name in fields:
            one, other = (_canonical(task.config.get(name)) for task in (first, second))
            if one != other:
                refuse(f"{kind} ({name})", one, other)
    if first.original != second.original:
        refuse("the number of documents", first.original, second.original)
    if first.effective != second.effective:
        refuse("the limit", first.effective, second.effective)
    offsets = [run.settings.get("offset") or 0 for run in (base, candidate)]
    if offsets[0] != offsets[1]:
        refuse("the offset", *offsets)


def _refuse_different_texts(task: str, left: Samples, right: Samples, *, prompts: bool) -> None:
    both = left.frame.select("doc_id", "target", "prompt").join(
        right.frame.select("doc_id", "target", "prompt"), on="doc_id", suffix="_other"
    )
    if both.is_empty():
        raise UserError(f"task {task}: the two runs share no document: evaluate both on the same data")
    for column, what in (("target", "documents (their right answers)"), ("prompt", "prompts")):
        if column == "prompt" and not prompts:
            continue
        unlike = both.filter(pl.col(column).ne_missing(pl.col(f"{column}_other")))["doc_id"]
        if len(unlike):
            raise UserError(
                f"task {task}: {len(unlike)} of {both.height} {what} differ, first at doc_id {unlike.sort()[0]}: "
                "evaluate both on the same data"
            )


def _join(left: Samples, right: Samples) -> pl.DataFrame:
    def side(samples: Samples, name: str) -> pl.DataFrame:
        kept = ("score", "category", "answer", "unscored", "distracted")
        shared = ("class", "cluster")
        return samples.frame.select("doc_id", *(pl.col(column).alias(f"{name}_{column}") for column in kept + shared))

    joined = side(left, "base").join(side(right, "candidate"), on="doc_id", how="full", coalesce=True)
    merged = {name: pl.coalesce(f"base_{name}", f"candidate_{name}") for name in ("class", "cluster")}
    dropped = [f"{side}_{name}" for side in ("base", "candidate") for name in ("class", "cluster")]
    return joined.with_columns(**merged).drop(dropped).sort("doc_id")


def _count_excluded(joined: pl.DataFrame, left: Samples, right: Samples, expected: int | None) -> Excluded:
    documents = max(joined.height, expected or 0)
    return Excluded(
        missing_base=documents - left.frame.height,
        missing_candidate=documents - right.frame.height,
        unscored_base=int(left.frame["unscored"].sum()),
        unscored_candidate=int(right.frame["unscored"].sum()),
    )


def _canonical(value: Any) -> Any:
    """Return a config value as comparable text: functions print with an address, which means nothing."""
    return _ADDRESS.sub("", json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def shared_tasks(base: Run, candidate: Run) -> Iterator[str]:
    """Yield the tasks that both runs have, in the base's order.

    Raises:
        UserError: they share none.
    """
    shared = [task for task in base.tasks if task in candidate.tasks]
    if not shared:
        names = [", ".join(list(tasks)[:5]) for tasks in (base.tasks, candidate.tasks)]
        raise UserError(f"the two runs share no task: base has {names[0]}; candidate has {names[1]}")
    yield from shared


def only_in(first: Mapping[str, Task], second: Mapping[str, Task]) -> tuple[str, ...]:
    """Return the tasks of the first run that the second lacks."""
    return tuple(task for task in first if task not in second)
