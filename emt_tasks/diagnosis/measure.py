"""Measure one model on tasks: its closed sets and its probes, for each document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from lmms_eval.api.instance import Instance
from numpy.typing import NDArray
from tqdm import tqdm

from emt_core.errors import UserError, one_line
from emt_core.files import dump_row
from emt_core.folders import whole_folder
from emt_core.measured import HEADER, ROWS
from emt_tasks import plugin
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.diagnosis import probes
from emt_tasks.diagnosis.features import PLACES, UnevenError, extract, tower_digest
from emt_tasks.models.batching import Batch, prefetch
from emt_tasks.models.documents import Request
from emt_tasks.models.parts import moved
from emt_tasks.models.vlm import EmtVLM
from emt_tasks.tasks import registry
from emt_tasks.tasks.documents import Document, stratified_sample
from emt_tasks.tasks.evaluator import EvaluationSettings, check
from emt_tasks.tasks.hooks import task_of
from emt_tasks.tasks.multiple_choice import ChoiceQuestion, MultipleChoiceTask
from emt_tasks.tasks.scoring import LabelScore, closed_set

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
    if (output / HEADER).exists() and not overwrite:
        raise UserError(f"--output: {output} already has a measured model; choose another folder or add --overwrite")
    check(settings.tasks)
    with redirect_stdout(sys.stderr):
        lm = EmtVLM.create_from_arg_string(
            settings.all_model_args(), {"batch_size": settings.batch_size, "device": settings.device}
        )
    about = {"model": settings.model, "peft": settings.peft, "model_args": settings.model_args}
    measure(lm, settings.tasks, output, limit=settings.limit, with_probes=with_probes, about=about)


@dataclass(frozen=True)
class Asked:
    """A task as lmms-eval asks it: one request for each document."""

    name: str
    task: Any
    requests: list[Request]

    @classmethod
    def of(cls, name: str, task: Any, limit: int | None) -> Asked:
        """Build the requests of a task, the first `limit` documents of it.

        Raises:
            UserError: the task does not generate answers.
        """
        task.build_all_requests(limit=limit, rank=0, world_size=1)
        if any(instance.request_type != "generate_until" for instance in task.instances):
            raise UserError(f"task {name}: expected one that generates answers; closed sets are measured beside them")
        return cls(name, task, [Request.from_arguments(instance.args) for instance in task.instances])

    @cached_property
    def dataset(self) -> Dataset | None:
        """The data set, if it is one that we know."""
        return registry.dataset_of(self.name)

    @cached_property
    def documents(self) -> list[Document]:
        """The documents asked about, without their images."""
        split = self.requests[0].split
        table = self.task.dataset[split].select([request.doc_id for request in self.requests])
        kept = [name for name, kind in table.features.items() if not isinstance(kind, datasets.Image)]
        return list(table.select_columns(kept))


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
        UserError: a task is unknown or cannot be measured.
    """
    with redirect_stdout(sys.stderr):
        tasks = {name: Asked.of(name, task, limit) for name, task in plugin.load_tasks(names).items()}
    lm.task_dict = {name: asked.task.dataset for name, asked in tasks.items()}
    header: dict[str, Any] = {**about, "limit": limit, "tower": tower_digest(lm.model), "tasks": {}}
    with whole_folder(output, replaces=(HEADER, ROWS.format(task="*"))) as folder:
        for name, asked in tasks.items():
            rows, told = _measure_task(lm, asked, with_probes)
            header["tasks"][name] = told
            (folder / ROWS.format(task=name)).write_bytes(b"".join(map(dump_row, rows)))
        (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _measure_task(lm: EmtVLM, asked: Asked, with_probes: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row for each document, and what the header says of the task."""
    rows: list[dict[str, Any]] = [{"doc_id": request.doc_id} for request in asked.requests]
    sets = _closed_sets(asked)
    for kind, choices in sets.items():
        for row, found in zip(rows, _score(lm, asked, choices), strict=True):
            row.setdefault("closed_sets", {})[kind] = found
    sizes = {kind: sum(len(names) for names, _ in choices) / len(choices) for kind, choices in sets.items()}
    told: dict[str, Any] = {"documents": len(rows), "closed_sets": sizes}
    labels = _labels(asked) if with_probes else None
    if labels is None:
        return rows, told | {"probe": None}
    read, learned_from = _probe(lm, asked, labels)
    for number, (row, label) in enumerate(zip(rows, labels.names, strict=True)):
        row["shows"] = label
        row["probes"] = {place: names[number] for place, names in read.items()}
    return rows, told | {"probe": learned_from}


def _closed_sets(asked: Asked) -> dict[str, list[tuple[list[str], set[int]]]]:
    """Return each way in which a task's answers are a closed set: the choices of each document, and the right ones."""
    if asked.dataset is None or asked.dataset.kind == "short_answer":
        return {}
    task = task_of(asked.dataset)
    if not isinstance(task, MultipleChoiceTask):
        return {"label": [(task.choices(one), task.right_choices(one)) for one in asked.documents]}  # type: ignore[attr-defined]
    read: Callable[[Document], ChoiceQuestion] = (
        task.with_distractor if asked.name.removesuffix("_lite").endswith("_distractor") else task.question
    )
    questions = [(read(one), task.right_choices(one)) for one in asked.documents]
    return {
        "letter": [(list(question.letters), right) for question, right in questions],
        "text": [(list(question.choices), right) for question, right in questions],
    }


def _score(lm: EmtVLM, asked: Asked, choices: Sequence[tuple[list[str], set[int]]]) -> Iterator[dict[str, Any]]:
    """Yield each document's closed set, as `scoring.closed_set` has it, and its first right choice."""
    instances = [
        Instance(
            request_type="loglikelihood",
            arguments=(one.context, f" {name}", one.visual, one.doc_id, one.task, one.split),
            idx=index,
            metadata={"task": one.task, "doc_id": one.doc_id, "repeats": 1},
        )
        for one, (names, _) in zip(asked.requests, choices, strict=True)
        for index, name in enumerate(names)
    ]
    scores = iter(lm.loglikelihood(instances))
    for names, right in choices:
        found = closed_set([LabelScore.read(next(scores)) for _ in names], names, right)
        yield found | {"right": names[min(right)]}


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
                    found[place][number] = vector
                progress.update(len(batch.numbers))
    return {
        place: torch.stack([rows[number] for number in range(len(todo))]).numpy()
        for place, rows in found.items()
        if len(rows) == len(todo)
    }


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
