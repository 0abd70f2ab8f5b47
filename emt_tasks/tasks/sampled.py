"""Scores of some documents of tasks by a loaded model: as lmms-eval asks and scores them, without a run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lmms_eval.api.instance import Instance
from numpy.typing import NDArray

from emt_core.errors import UserError
from emt_tasks.models.documents import Request
from emt_tasks.models.vlm import EmtVLM
from emt_tasks.tasks.asked import ask
from emt_tasks.tasks.documents import random_order

NO_ACCURACY = "no accuracy"


class Sampled:
    """Some documents of each task, in an order drawn at random once.

    Args:
        names: of tasks and groups.
        most: documents of a task at most.
        share: the share of a task's documents at most.
    """

    def __init__(self, names: Sequence[str], most: int, share: float) -> None:
        self.tasks = ask(names)
        self._chosen = {name: _drawn(name, len(asked.requests), most, share) for name, asked in self.tasks.items()}

    @property
    def documents(self) -> Mapping[str, list[int]]:
        """The numbers of each task's chosen documents, as runs have them."""
        return {
            name: [self.tasks[name].requests[number].doc_id for number in numbers]
            for name, numbers in self._chosen.items()
        }

    @property
    def size(self) -> int:
        """How many documents the smallest task has here."""
        return min(map(len, self._chosen.values()))

    def scores(self, lm: EmtVLM, count: int, start: int = 0) -> dict[str, NDArray[np.float64]]:
        """Return the accuracy of the chosen documents of each task, from `start` to `count`."""
        return self.scores_at(lm, {name: range(start, min(count, len(all_))) for name, all_ in self._chosen.items()})

    def scores_at(self, lm: EmtVLM, places: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float64]]:
        """Return the accuracy of some of the chosen documents of each task, by their places in the drawn order."""
        return self.scored(self.answers_at(lm, places), places)

    def answers_at(self, lm: EmtVLM, places: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        """Return the answers to some of the chosen documents of each task, by their places in the drawn order."""
        lm.task_dict = self.documents_by_task
        found = {}
        for name in self.tasks:
            found[name] = [result.text for result in lm.generate_until(self.instances(name, places[name]))]
        return found

    def scored(
        self, answers: Mapping[str, Sequence[str]], places: Mapping[str, Sequence[int]]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the accuracy of answers to some of the chosen documents.

        Raises:
            UserError: a task logs no accuracy.
        """
        found = {}
        for name, asked in self.tasks.items():
            numbers = [self._chosen[name][place] for place in places[name]]
            scored = [
                asked.task.process_results(asked.documents[number], [answer]).get("accuracy", NO_ACCURACY)
                for number, answer in zip(numbers, answers[name], strict=True)
            ]
            if NO_ACCURACY in scored:
                raise UserError(f"task {name}: it logs no accuracy; choose tasks that do")
            found[name] = np.array([float(score or 0) for score in scored])
        return found

    def requests(self, task: str, places: Sequence[int]) -> list[Request]:
        """Return what is asked about some of the chosen documents of a task."""
        return [self.tasks[task].requests[self._chosen[task][place]] for place in places]

    def instances(self, task: str, places: Sequence[int]) -> list[Instance]:
        """Return the same as lmms-eval hands it to a model."""
        asked = self.tasks[task]
        return [asked.instance(one, "generate_until", one.payload) for one in self.requests(task, places)]

    @property
    def documents_by_task(self) -> dict[str, Any]:
        """All documents, as lmms-eval hands them to a model: task, split, number."""
        return {name: asked.task.dataset for name, asked in self.tasks.items()}


def _drawn(name: str, documents: int, most: int, share: float) -> list[int]:
    return random_order(name, documents)[: max(1, min(most, int(share * documents)))]
