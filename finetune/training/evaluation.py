"""Evaluate a model during training.

The only module of this package that imports the evaluator. It writes a run folder
like `emt eval`: `…_results.json` and one `…_samples_TASK.jsonl` per task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from emt_core.errors import UserError, listed
from emt_tasks.models.batching import batches
from emt_tasks.tasks import registry
from emt_tasks.tasks.evaluator import EvaluationSettings, check, evaluate_loaded
from finetune.data.collate import TrainingBatch, TrainingCollator
from finetune.recipes.schema import Evaluate, Probe
from finetune.training.moved import MOST

Places = Mapping[str, Sequence[int]]
"""Task: places of documents in its pool."""


def check_tasks(settings: Evaluate) -> None:
    """Make sure before training that the tasks exist and that their data is available; load no model.

    Raises:
        UserError: a task does not exist, or its data is missing.
    """
    if settings.tasks:
        check(settings.tasks)


def check_watched(settings: Probe | None) -> None:
    """Make sure before training that what is to be watched exists, and that its data is available.

    Raises:
        UserError: a task does not exist, its data is missing, or the one to learn is not among them.
    """
    if settings is None:
        return
    check(settings.tasks)
    names = watched(settings)
    if settings.learn and settings.learn not in names:
        raise UserError(f"probe.learn: {settings.learn} is not one of probe.tasks ({listed(names)})")
    if names == [settings.learn]:
        raise UserError(f"probe.tasks: {settings.learn} is to be learned, and there is no other to be forgotten")


def watched(settings: Probe) -> list[str]:
    """Return the tasks that are watched, our groups expanded; lmms-eval's own stay as they are."""
    known = registry.entries()
    each = ([task.name for task in registry.tasks([name])] if name in known else [name] for name in settings.tasks)
    return list(dict.fromkeys(chain.from_iterable(each)))


class LiveSample:
    """Some documents of tasks, drawn once, that a model in training answers; all processes answer all of them.

    Args:
        tasks: names of tasks and groups.
        pool: documents of each at most.
        processor: the checkpoint's.
        accelerator: the training run's.
        batch_size: documents at a time.
        collator: the training's, without a limit of tokens.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        pool: int,
        processor: Any,
        accelerator: Any,
        batch_size: int,
        collator: TrainingCollator,
    ) -> None:
        from emt_tasks.tasks.sampled import Sampled

        self._sampled = Sampled(tasks, pool, 1.0)
        self._processor, self._accelerator, self._batch_size = processor, accelerator, batch_size
        self._collator = collator
        self._lm: Any = None

    @property
    def sizes(self) -> dict[str, int]:
        """How many documents of each task there are."""
        return {task: len(documents) for task, documents in self._sampled.documents.items()}

    def answers(self, model: Any, places: Places) -> dict[str, list[str]]:
        """Return the model's answers to some of the documents of each task; the model is left as it was."""
        return self._sampled.answers_at(self._asked(model), places)

    def batches(self, model: Any, documents: int) -> dict[str, list[TrainingBatch]]:
        """Return the first documents of each task as batches, with the first tokens of the model's answers as labels.

        Prompts are those of an evaluation, and answers the very tokens that the model writes: their text may be split
        into others.
        """
        lm = self._asked(model)
        lm.task_dict = self._sampled.documents_by_task
        found: dict[str, list[TrainingBatch]] = {}
        for task, size in self.sizes.items():
            places = range(min(documents, size))
            requests = self._sampled.requests(task, places)
            answers = lm.write(self._sampled.instances(task, places), MOST)
            prompts = chain.from_iterable(
                lm.prepare(requests, "right", numbers)
                for numbers in batches(requests, self._batch_size, [None] * len(requests))
            )
            found[task] = [
                self._collator.answered(
                    {name: value for name, value in prompt.inputs.items() if isinstance(value, torch.Tensor)},
                    [answers[number] for number in prompt.numbers],
                )
                for prompt in prompts
            ]
        return found

    def _asked(self, model: Any) -> Any:
        """Return the model as lmms-eval asks it; made once."""
        from emt_tasks.models.parts import base_model
        from emt_tasks.models.vlm import EmtVLM

        if self._lm is None or self._lm.model is not base_model(self._accelerator.unwrap_model(model)):
            self._lm = EmtVLM.from_model(
                model, self._processor, batch_size=self._batch_size, accelerator=self._accelerator, quiet=True
            )
        return self._lm

    def scored(self, answers: Mapping[str, Sequence[str]], places: Places) -> dict[str, Any]:
        """Return the accuracy of answers to some of the documents of each task.

        All processes get that of the first one's answers: they must agree on when training ends.
        """
        scores = [dict(self._sampled.scored(answers, places))]
        return broadcast_object_list(scores)[0] if self._accelerator.num_processes > 1 else scores[0]


def evaluate_live(
    model: Any, processor: Any, accelerator: Any, settings: Evaluate, folder: Path, pretrained: str
) -> dict[str, float]:
    """Run the recipe's tasks on a model in its current state, and write the results to a run folder.

    The model is left as it was. All processes must call this.

    Args:
        model: may be wrapped for training.
        processor: the checkpoint's.
        accelerator: the training run's.
        settings: tasks, batch size, and a limit of documents.
        folder: the run's; replaced if it exists.
        pretrained: the model's name in the results.

    Returns:
        The accuracy of each task; empty except on the first process.
    """
    chosen = EvaluationSettings(pretrained, tuple(settings.tasks), batch_size=settings.batch_size, limit=settings.limit)
    results = evaluate_loaded(model, processor, chosen, folder, accelerator=accelerator)
    scores = results.get("results", {})
    return {task: float(score["accuracy,none"]) for task, score in scores.items() if "accuracy,none" in score}
