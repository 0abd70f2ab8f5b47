"""Measure one model on tasks: its closed sets and its probes, for each document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from emt_core.errors import UserError, one_line
from emt_core.files import dump_row
from emt_core.folders import whole_folder
from emt_core.measured import HEADER, ROWS, check_output, question_digest, read_measured
from emt_tasks.diagnosis import probes
from emt_tasks.diagnosis.features import PLACES, UnevenError, extract, tower_digest
from emt_tasks.models.batching import Batch, prefetch
from emt_tasks.models.documents import Request
from emt_tasks.models.parts import moved
from emt_tasks.models.vlm import EmtVLM
from emt_tasks.tasks.asked import Asked, ask
from emt_tasks.tasks.documents import ClosedTask, Document, stratified_sample
from emt_tasks.tasks.evaluator import EvaluationSettings, check
from emt_tasks.tasks.hooks import task_of
from emt_tasks.tasks.multiple_choice import ChoiceQuestion, MultipleChoiceTask
from emt_tasks.tasks.scoring import LabelScore, closed_set

_TOGETHER = 256
"""Documents whose choices are scored at a time: of 1,000 labels each, as many as memory has room for."""

TRAINING_DOCUMENTS = 3000
SHOTS = 16
"""A probe learns from at most so many documents of the training split: the first, or the second for each class."""


def measure_model(
    settings: EvaluationSettings, output: Path, *, with_probes: bool = True, overwrite: bool = False
) -> None:
    """Load a model and measure it on tasks, as `measure` does.

    Raises:
        UserError: a task is unknown, `output` has a measured model, or the model or the data cannot be used.
    """
    check_output(output, overwrite=overwrite)
    check(settings.tasks)
    with redirect_stdout(sys.stderr):
        lm = EmtVLM.create_from_arg_string(
            settings.all_model_args(), {"batch_size": settings.batch_size, "device": settings.device}
        )
    about = {"model": settings.model, "peft": settings.peft, "model_args": settings.model_args}
    measure(lm, settings.tasks, output, limit=settings.limit, with_probes=with_probes, about=about)


def _written_before(output: Path) -> tuple[str, ...]:
    """Return the names of what an earlier measurement wrote to a folder."""
    if not (output / HEADER).is_file():
        return ()
    return (HEADER, *(ROWS.format(task=name) for name in read_measured(output).tasks))


@dataclass(frozen=True)
class Choices:
    """A document's choices: what is scored, what each is called (an option by its letter), and which are right."""

    texts: list[str]
    names: list[str]
    right: set[int]


@dataclass(frozen=True)
class Labels:
    """What a probe is to read: the class of what each document's image shows; `groups` are equal for one image."""

    names: list[str]
    groups: list[str]


def measure(
    lm: EmtVLM,
    names: Sequence[str],
    output: Path,
    *,
    limit: int | None,
    with_probes: bool = True,
    about: Mapping[str, Any],
) -> None:
    """Measure a model on tasks and write what was found to a folder.

    Args:
        lm: the model.
        names: of tasks and groups.
        output: the folder: one file of rows for each task, and a header.
        limit: only the first documents of each task.
        with_probes: probe too; closed sets alone cost half, and tell all where both models have the same tower.
        about: what the header says of the model.

    Raises:
        UserError: no task can be measured, the model's numbers are none, or the folder has files of others.
    """
    tasks = ask(names, limit)
    ours = _written_before(output)
    for file in (ROWS.format(task=name) for name in tasks):
        if (output / file).exists() and file not in ours:
            raise UserError(f"--output: {output / file} was not written by emt probe, so it is not replaced")
    lm.task_dict = {name: asked.task.dataset for name, asked in tasks.items()}
    header: dict[str, Any] = {**about, "limit": limit, "tower": tower_digest(lm.model), "tasks": {}}
    with whole_folder(output, replaces=ours) as folder:
        for name, asked in tasks.items():
            rows, told = _measure_task(lm, asked, with_probes)
            header["tasks"][name] = told
            (folder / ROWS.format(task=name)).write_bytes(b"".join(map(dump_row, rows)))
        (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _identity(asked: Asked, number: int) -> dict[str, str]:
    """Return what tells a document and its question from others, as a row has it."""
    target = asked.task.doc_to_target(asked.documents[number])
    return {"asked": question_digest(asked.requests[number].context, target)} if isinstance(target, str) else {}


def _measure_task(lm: EmtVLM, asked: Asked, with_probes: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row for each document, and what the header says of the task."""
    rows = [{"doc_id": one.doc_id} | _identity(asked, number) for number, one in enumerate(asked.requests)]
    sets = _closed_sets(asked)
    for kind, choices in sets.items():
        for row, found in zip(rows, _score(lm, asked, choices), strict=True):
            row.setdefault("closed_sets", {})[kind] = found
    sizes = {kind: sum(len(one.texts) for one in choices) / len(choices) for kind, choices in sets.items()}
    told: dict[str, Any] = {"documents": len(rows), "closed_sets": sizes}
    labels = _labels(asked) if with_probes else None
    if labels is None:
        return rows, told | {"probe": None}
    read, learned_from = _probe(lm, asked, labels)
    for number, (row, label) in enumerate(zip(rows, labels.names, strict=True)):
        row["shows"] = label
        row["probes"] = {place: names[number] for place, names in read.items()}
    return rows, told | {"probe": learned_from}


def _closed_sets(asked: Asked) -> dict[str, list[Choices]]:
    """Return each way in which a task's answers are a closed set: the choices of each document."""
    if asked.dataset is None or asked.dataset.kind == "short_answer":
        return {}
    task = cast(ClosedTask, task_of(asked.dataset))
    if not isinstance(task, MultipleChoiceTask):
        labels = ((task.choices(one), task.right_choices(one)) for one in asked.documents)
        return {"label": [Choices(names, names, right) for names, right in labels]}
    read: Callable[[Document], ChoiceQuestion] = (
        task.with_distractor if asked.name.removesuffix("_lite").endswith("_distractor") else task.question
    )
    questions = [(read(one), task.right_choices(one)) for one in asked.documents]
    return {
        "letter": [Choices(list(one.letters), list(one.letters), right) for one, right in questions],
        "text": [Choices(list(one.choices), list(one.letters), right) for one, right in questions],
    }


def _score(lm: EmtVLM, asked: Asked, choices: Sequence[Choices]) -> Iterator[dict[str, Any]]:
    """Yield each document's closed set, as `scoring.closed_set` has it, and its first right choice.

    Raises:
        UserError: a likelihood is not a number: the model has diverged.
    """
    for start in range(0, len(choices), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        instances = [
            asked.instance(one, "loglikelihood", f" {text}", index)
            for one, chosen in zip(asked.requests[part], choices[part], strict=True)
            for index, text in enumerate(chosen.texts)
        ]
        scores = iter(lm.loglikelihood(instances))
        for one, chosen in zip(asked.requests[part], choices[part], strict=True):
            read = [LabelScore.read(next(scores)) for _ in chosen.texts]
            if not all(isfinite(score.nll) for score in read):
                raise UserError(f"{one.where}: the model's likelihoods are not numbers; it has diverged")
            found = closed_set(read, chosen.names, chosen.right)
            yield found | {"right": chosen.names[min(chosen.right)]}


def _labels(asked: Asked) -> Labels | None:
    """Return what each document's image shows; None where the task does not say."""
    dataset = asked.dataset
    if dataset is None:
        return None
    columns = dataset.columns
    if dataset.kind == "classification":
        names = [task_of(dataset).target(one) for one in asked.documents]  # type: ignore[attr-defined]
    elif columns.class_name is not None:
        names = [str(one[columns.class_name]) for one in asked.documents]
    else:
        return None
    groups = [str(one[columns.cluster]) if columns.cluster else str(n) for n, one in enumerate(asked.documents)]
    return Labels(names, groups)


def _probe(lm: EmtVLM, asked: Asked, labels: Labels) -> tuple[dict[str, list[str]], str | None]:
    """Return what probes read of each document at each place, and what they have learned from."""
    found = _training(asked)
    if found is None and not probes.can_be_folded(labels.names, labels.groups):
        return {}, None
    features = _features(lm, asked.requests, asked.name)
    if found is None:
        folds = f"the other documents, in {probes.FOLDS} folds"
        return {
            place: probes.out_of_fold(vectors, labels.names, labels.groups) for place, vectors in features.items()
        }, folds
    requests, names = found
    lm.task_dict[TRAINING] = {"train": _Rows(requests)}
    learned = _features(lm, [request for request, _ in requests], f"{asked.name}, to train probes")
    read = {
        place: [str(label) for label in probes.fit(learned[place], names).predict(vectors)]
        for place, vectors in features.items()
        if place in learned
    }
    return read, f"{len(names)} documents of the training split"


TRAINING = "training split"


class _Rows:
    """Documents by number, as lmms-eval's `task_dict` has them."""

    def __init__(self, pairs: Sequence[tuple[Request, Document]]) -> None:
        self._pairs = pairs

    def __getitem__(self, number: int) -> Document:
        return self._pairs[number][1]


def _training(asked: Asked) -> tuple[list[tuple[Request, Document]], list[str]] | None:
    """Return requests about documents of the training split, and their labels; None where there is none at hand."""
    dataset = asked.dataset
    if dataset is None or dataset.kind != "classification" or dataset.split == "train":
        return None
    local = dataset.local_file("train")
    if not (local is not None and local.is_file()) and "train" not in dataset.rows:
        return None
    task = task_of(dataset)
    try:
        table = task.documents(datasets.load_dataset(**dataset.load_arguments("train"), split="train"))
    except (OSError, ValueError, UserError) as error:  # not on this disk, and the hub cannot be reached
        print(f"{asked.name}: no training split ({one_line(error)[:160]})", file=sys.stderr)  # noqa: T201
        return None
    strata = task.strata(table)
    size = max(TRAINING_DOCUMENTS, SHOTS * len(set(strata)))
    table = table.select(stratified_sample(strata, size))
    pairs = [
        (Request(asked.task.doc_to_text(one), {}, asked.task.doc_to_visual, number, TRAINING, "train"), one)
        for number, one in enumerate(table)
    ]
    return pairs, [task.target(one) for _, one in pairs]  # type: ignore[attr-defined]


def _features(lm: EmtVLM, requests: Iterable[Request], about: str) -> dict[str, NDArray[np.float32]]:
    """Return the features of each request's document, in their order."""
    todo = list(requests)
    found: dict[str, dict[int, torch.Tensor]] = {place: {} for place in PLACES}
    numbers = [
        list(range(start, min(start + lm.batch_size, len(todo)))) for start in range(0, len(todo), lm.batch_size)
    ]
    prepare = partial(lm.prepare, todo, "left")
    with lm.inference() as model, tqdm(total=len(todo), desc=f"Features: {about}") as progress:
        for made in prefetch(prepare, numbers):
            for batch in made:
                for number, place, vector in _extracted(lm, model, todo, batch):
                    found[place][number] = _finite(vector, todo[number])
                progress.update(len(batch.numbers))
    return {
        place: torch.stack([rows[number] for number in range(len(todo))]).numpy()
        for place, rows in found.items()
        if len(rows) == len(todo)
    }


@dataclass(frozen=True)
class AnswerStates:
    """A task's documents just before a model answers.

    Attributes:
        vectors: the language model's last hidden state, `(documents, dimensions)`, float32.
        shown: the place in `labels` of what each document shows, `(documents,)`.
        labels: of the task, in the vocabulary's order.
    """

    vectors: NDArray[np.float32]
    shown: NDArray[np.int64]
    labels: tuple[str, ...]


def answer_states(lm: EmtVLM, names: Sequence[str], limit: int | None) -> Iterator[tuple[str, AnswerStates]]:
    """Yield each classification task with its documents' states.

    Raises:
        UserError: a task is no classification, or the model's features are not numbers.
    """
    tasks = ask(names, limit)
    lm.task_dict = {name: asked.task.dataset for name, asked in tasks.items()}
    for name, asked in tasks.items():
        if asked.dataset is None or asked.dataset.kind != "classification":
            raise UserError(f"--tasks {name}: expected a task with one set of labels for all documents")
        task = cast(ClosedTask, task_of(asked.dataset))
        labels = tuple(task.choices(asked.documents[0]))
        shown = np.array([min(task.right_choices(one)) for one in asked.documents], dtype=np.int64)
        yield name, AnswerStates(_features(lm, asked.requests, name)["answer"], shown, labels)


def _finite(vector: torch.Tensor, request: Request) -> torch.Tensor:
    if not bool(torch.isfinite(vector).all()):
        raise UserError(f"{request.where}: the model's features are not numbers; it has diverged")
    return vector


def _extracted(lm: EmtVLM, model: Any, todo: list[Request], batch: Batch) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Yield the vector of each document of a batch at each place."""
    try:
        vectors = extract(model, moved(batch.inputs, model), len(batch.numbers))
    except UnevenError:
        for number in batch.numbers:
            for alone in lm.prepare(todo, "left", [number]):
                yield from _extracted(lm, model, todo, alone)
        return
    for place, rows in vectors.items():
        for number, row in zip(batch.numbers, rows, strict=True):
            yield number, place, row
