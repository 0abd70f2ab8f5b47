"""Pair two runs by (task, doc_id), and refuse pairs that measure different things, unless the user accepts it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import polars as pl

from emt_core.errors import UserError, listed
from emt_core.looks import Look
from emt_core.public_names import public_name
from emt_core.runs import Run, Task
from judges.verdict import JUDGED_BY
from leaderboards.comparison.alike import FLAG, Difference, accept, compare_judges, shown
from leaderboards.comparison.metrics import label
from leaderboards.comparison.samples import Samples, read_samples
from leaderboards.comparison.scales import POINTS, Scale, find_scale

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
"""What must be equal in both runs. Where the data set lies is not among them: its documents are compared instead, and
another place is listed."""

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
    answer as `SIDE_score`, `SIDE_category`, `SIDE_answer`, and as `SIDE_probability` that of a closed set's likeliest
    label, for documents that both runs scored; `encoder_score`, null where the encoder was not given or has none.
    `documents` counts all documents of either run, `paired` those in the frame. `differences` holds what is not alike
    in this task, `one_sided` the documents that one run alone scored: `doc_id`, `cluster` and both scores, one of them
    null. All scores are those on `scale`, from 0 to 1 but for a metric whose range is not known. `look` is where the
    task stands if one of the runs may have ended early: then its documents are compared.
    """

    task: str
    base: Task
    candidate: Task
    metric: str
    judged: bool
    documents: int
    excluded: Excluded
    frame: pl.DataFrame
    one_sided: pl.DataFrame
    differences: tuple[Difference, ...] = ()
    scale: Scale = POINTS
    look: Look | None = None

    @property
    def paired(self) -> int:
        """Documents that both runs scored."""
        return self.frame.height


def pair_task(
    task: str,
    base: Run,
    candidate: Run,
    *,
    encoder: Run | None = None,
    metric: str | None = None,
    allow: Collection[str] = (),
    without: Collection[int] = (),
) -> PairedTask:
    """Read one task of two runs and pair its documents, but for those in `without`.

    `allow` names the differences that the user accepts.

    Raises:
        UserError: versions, prompts, generation settings, limits or documents differ; or a file is invalid.
    """
    first, second = base.tasks[task], candidate.tasks[task]
    differences = [*_compare_configs(base, candidate, first, second, allow), *_compare_data(first, second)]
    _refuse_different_documents(base, candidate, first, second)
    left = read_samples(first, metric)
    right = read_samples(second, metric or left.metric)
    look = _earlier(first.look, second.look)
    left, right = _cut(left, first.look, look, right), _cut(right, second.look, look, left)
    counts = [task.effective for task in (first, second) if task.effective is not None]
    expected = min(counts, default=None) if look else first.effective
    if left.metric != right.metric:
        raise UserError(
            f"task {task}: base is compared by {left.metric}, candidate by {right.metric}: name one with "
            f"--metric {task}=NAME:higher or NAME:lower"
        )
    differences += _compare_texts(task, left, right, allow)
    differences += _compare_judges(task, left, right, allow)
    joined = _join(left, right)
    sides = [left.frame["score"], right.frame["score"]]
    if encoder is not None and task in encoder.tasks:
        reference = read_samples(encoder.tasks[task], metric or left.metric)
        # The encoder is not prompted as an MLLM is; that its documents are the same is all that can be asked.
        list(_compare_texts(task, left, reference, ("prompt",)))
        scores = reference.frame.select("doc_id", encoder_score="score")
        joined = joined.join(scores, on="doc_id", how="left", maintain_order="left")
        sides.append(reference.frame["score"])
    else:
        joined = joined.with_columns(encoder_score=pl.lit(None, pl.Float64))
    scale = find_scale(label(left.metric), sides, left.stated, drops=_drops(joined))
    joined = _placed(joined, scale, left.stated)
    excluded, documents = (
        _count_excluded(joined, left, right, expected),
        max(joined.height, expected or 0),
    )
    if without:
        before = joined.height
        joined = joined.filter(~pl.col("doc_id").is_in(sorted(without)))
        documents -= before - joined.height
    known = joined.select("base_score", "candidate_score").select(pl.sum_horizontal(pl.all().is_not_null()))
    frame, one_sided = (joined.filter(known.to_series() == scored) for scored in (2, 1))
    return PairedTask(
        task=task,
        base=first,
        candidate=second,
        metric=left.metric,
        judged=left.judged and right.judged,
        documents=documents,
        excluded=excluded,
        frame=frame.drop("base_unscored", "candidate_unscored"),
        differences=accept(differences, allow),
        one_sided=one_sided.select("doc_id", "cluster", "base_score", "candidate_score"),
        scale=scale,
        look=look,
    )


def _drops(joined: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield the differences of scores that are tested; none if one run alone scored a document, which may be any."""
    if joined.select(pl.col("base_score").is_null() != pl.col("candidate_score").is_null()).to_series().any():
        return
    for one, other in (("base", "candidate"), ("encoder", "base"), ("encoder", "candidate")):
        yield joined[f"{one}_score"] - joined[f"{other}_score"]


def _placed(joined: pl.DataFrame, scale: Scale, stated: tuple[float, float] | None) -> pl.DataFrame:
    """Return the scores on the scale; of a metric that is not from 0 to 1, only the highest score is "correct"."""
    if scale.is_percent:
        return joined
    highest = scale.low + scale.reach if stated is None else stated[1]
    right = {side: pl.col(f"{side}_score") >= highest for side in ("base", "candidate")}
    placed = (scale.placed(pl.col(f"{side}_score")).alias(f"{side}_score") for side in ("base", "candidate", "encoder"))
    return joined.with_columns(
        pl.when(pl.col(f"{side}_category") == "unscored")
        .then(pl.lit("unscored"))
        .when(best)
        .then(pl.lit("correct"))
        .otherwise(pl.lit("incorrect"))
        .alias(f"{side}_category")
        for side, best in right.items()
    ).with_columns(placed)


def _earlier(one: Look | None, other: Look | None) -> Look | None:
    """Return the look whose documents both runs have: the earlier one, or the only one."""
    return min((look for look in (one, other) if look), key=lambda look: look.number, default=None)


def _cut(samples: Samples, own: Look | None, look: Look | None, other: Samples) -> Samples:
    """Return a run's documents of a look: those of the run that is there; this one may have gone on, or have all."""
    if own == look:
        return samples
    return replace(samples, frame=samples.frame.join(other.frame.select("doc_id"), on="doc_id", how="semi"))


def _refusal(
    task: str, what: str, one: Any, other: Any, base: Run, candidate: Run, *, accepted_by: str = ""
) -> UserError:
    return UserError(
        f"task {task}: {what} differs between base and candidate, {_short(one)} and {_short(other)}: "
        f"evaluate both alike ({base.path.parent} and {candidate.path.parent}){_or_accept(accepted_by)}"
    )


def _or_accept(name: str) -> str:
    return f", or accept it with {FLAG} {name}" if name else ""


def _compare_configs(
    base: Run, candidate: Run, first: Task, second: Task, allow: Collection[str]
) -> Iterator[Difference]:
    """Yield what differs in the tasks' configs and is accepted; refuse anything else."""
    values: list[tuple[str, str, Any, Any]] = [("version", "the version", first.version, second.version)]
    for name, kind, fields in (
        ("prompt", "the prompt", PROMPT_FIELDS),
        ("decoding", "the generation", GENERATION_FIELDS),
        ("scoring", "the scoring", SCORING_FIELDS),
    ):
        for field in fields:
            one, other = (_canonical(task.config.get(field)) for task in (first, second))
            values.append((name, f"{kind} ({field})", one, other))
    for name, what, one, other in values:
        if one != other:
            if name not in allow:
                raise _refusal(first.name, what, one, other, base, candidate, accepted_by=name)
            yield Difference(name, what, *shown(one, other), stops=True, task=first.name)


def _compare_data(first: Task, second: Task) -> Iterator[Difference]:
    """Yield where the data came from another place: equal questions and answers do not prove equal images."""
    one, other = (_data(task.config) for task in (first, second))
    if one != other:
        yield Difference("data", "dataset_path", *shown(one, other), stops=False, task=first.name)


def _data(config: Mapping[str, Any]) -> str:
    """Name a task's data set: its place on the hub, or its files without the folders of one machine."""
    arguments = config.get("dataset_kwargs")
    files = arguments.get("data_files") if isinstance(arguments, Mapping) else None
    if files is None:
        return " ".join(public_name(str(config[name])) for name in ("dataset_path", "dataset_name") if config.get(name))
    places = files.values() if isinstance(files, Mapping) else files if isinstance(files, list) else [files]
    found = (PurePath(str(place)) for place in places)
    return ", ".join(sorted({f"{public_name(str(place.parent))}/{place.name}" for place in found}))


def _refuse_different_documents(base: Run, candidate: Run, first: Task, second: Task) -> None:
    offsets = [(run.results.get("config") or {}).get("offset") or 0 for run in (base, candidate)]
    caps = [task.look and f"{task.look.most} in {task.look.of} looks" for task in (first, second)]
    for what, one, other in (
        ("the number of documents", first.original, second.original),
        ("the limit", *((None, None) if any(caps) else (first.effective, second.effective))),
        ("the cap", *(caps if all(caps) else (None, None))),
        ("the offset", offsets[0], offsets[1]),
    ):
        if one != other:
            raise _refusal(first.name, what, one, other, base, candidate)


def _compare_texts(task: str, left: Samples, right: Samples, allow: Collection[str]) -> Iterator[Difference]:
    """Yield that prompts differ, where that is accepted; refuse it elsewhere, and other documents always."""
    both = left.frame.select("doc_id", "target", "prompt").join(
        right.frame.select("doc_id", "target", "prompt"), on="doc_id", suffix="_other"
    )
    if both.is_empty():
        raise UserError(f"task {task}: the two runs share no document: evaluate both on the same data")
    for column, what in (("target", "documents (their right answers)"), ("prompt", "prompts")):
        unlike = both.filter(pl.col(column).ne_missing(pl.col(f"{column}_other")))["doc_id"]
        if not len(unlike):
            continue
        said = f"{len(unlike)} of {both.height} {what} differ, first at doc_id {unlike.sort()[0]}"
        if column == "target":
            raise UserError(f"task {task}: {said}: evaluate both on the same data")
        if "prompt" not in allow:
            raise UserError(f"task {task}: {said}: evaluate both on the same data{_or_accept('prompt')}")
        yield Difference("prompt", said, "one text", "another", stops=True, task=task)


def _compare_judges(task: str, left: Samples, right: Samples, allow: Collection[str]) -> tuple[Difference, ...]:
    """Return how the judges differ, by what each sample logs; refuse two sides that share none, unless accepted.

    Runs that log only whose verdict each is cannot tell a cascade's rules from the rules alone: there the names are
    compared, and not who judged which document.
    """
    if not (left.judges and right.judges):
        return ()
    logged = bool(left.judged_by and right.judged_by)
    one, other = (side.judged_by if logged else side.judges for side in (left, right))
    if not one.keys() & other.keys() and "judge" not in allow:
        judges = " and by ".join(", ".join(side) for side in (one, other))
        raise UserError(
            f"task {task}: judged by {judges}: judge one of the runs again with emt judge{_or_accept('judge')}"
        )
    if not logged:
        return () if one.keys() == other.keys() else compare_judges(task, one, other, 0)
    both = left.frame.select("doc_id", JUDGED_BY).join(
        right.frame.select("doc_id", JUDGED_BY), on="doc_id", suffix="_other"
    )
    changed = both.filter(pl.col(JUDGED_BY) != pl.col(f"{JUDGED_BY}_other")).height
    return compare_judges(task, one, other, changed)


def _join(left: Samples, right: Samples) -> pl.DataFrame:
    def side(samples: Samples, name: str) -> pl.DataFrame:
        kept = ("score", "category", "answer", "unscored", "distracted", "probability")
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
        names = [listed(list(tasks)[:5]) for tasks in (base.tasks, candidate.tasks)]
        raise UserError(f"the two runs share no task: base has {names[0]}; candidate has {names[1]}")
    yield from shared


def choose_tasks(base: Run, candidate: Run, tasks: Iterable[str] | None) -> list[str]:
    """Return the tasks asked for, each once; all that both runs have if none is asked for.

    Raises:
        UserError: the runs share no task, or one that is asked for is not in both.
    """
    shared = list(shared_tasks(base, candidate))
    wanted = shared if tasks is None else list(dict.fromkeys(tasks))
    for task in wanted:
        if task not in shared:
            raise UserError(f"task {task} is not in both runs; they share {listed(shared)}")
    return wanted


def only_in(first: Mapping[str, Task], second: Mapping[str, Task]) -> tuple[str, ...]:
    """Return the tasks of the first run that the second lacks."""
    return tuple(task for task in first if task not in second)
