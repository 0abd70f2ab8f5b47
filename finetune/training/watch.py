"""Forgetting seen while it happens, and stopped: live accuracy on a few documents of other tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetune.recipes.schema import Probe
from finetune.training.alarm import Alarm

ALPHA = 0.05
"""The chance of a false alarm over a training, all tasks together."""


class Live(Protocol):
    """Scores documents of tasks by a model in training; see `finetune.training.evaluation.LiveSample`."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many documents each task's pool has."""

    def scores(self, model: Any, places: Mapping[str, Any]) -> Mapping[str, NDArray[np.float64]]:
        """Return the accuracy of some documents of each task's pool."""


class Watch:
    """Looks at a model every few steps.

    Args:
        settings: the recipe's.
        live: scores documents.
        steps: of the whole training.
        seed: of the documents that are drawn.
    """

    def __init__(self, settings: Probe, live: Live, steps: int, seed: int) -> None:
        self.settings, self._live, self._seed = settings, live, seed
        looks, tasks = max(1, steps // settings.every), list(live.sizes)
        margin = (settings.stop or 0.0) / 100
        self._alarms = {task: Alarm(margin, looks, ALPHA / len(tasks)) for task in tasks}
        self._base: Mapping[str, NDArray[np.float64]] = {}

    def start(self, model: Any) -> None:
        """Keep what the base knows of the pool; the model's weights must still be the base's."""
        self._base = self._live.scores(model, {task: range(size) for task, size in self._live.sizes.items()})

    def due(self, step: int) -> bool:
        """Whether to look after this step, counted from 1."""
        return step % self.settings.every == 0

    def look(self, model: Any, step: int) -> dict[str, Any]:
        """Draw documents, score them, and return what is logged: for each task its accuracy, the base's, the drops.

        `evidence` is the capital of whoever bets that the task has lost more than the margin; 1/α raises the alarm.
        """
        drawn = self._drawn(step)
        unique = {task: np.unique(places) for task, places in drawn.items()}
        scored = self._live.scores(model, {task: places.tolist() for task, places in unique.items()})
        found = {}
        for task, places in drawn.items():
            now = scored[task][np.searchsorted(unique[task], places)]
            drops = self._base[task][places] - now
            self._alarms[task].add(drops)
            found[task] = {
                "accuracy": float(now.mean()),
                "base": float(self._base[task][places].mean()),
                "drops": drops.tolist(),
                "evidence": round(self._alarms[task].capital, 4),
            }
        return found

    @property
    def forgotten(self) -> list[str]:
        """The tasks that are shown to have lost more than the margin; none without `stop`."""
        return [task for task, alarm in self._alarms.items() if alarm.raised] if self.settings.stop else []

    def restore(self, log: Path, step: int) -> None:
        """Go on after a step, by what the run has logged until then."""
        if not log.is_file():
            return
        for line in log.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["step"] <= step:
                for task, found in record.get("probe", {}).items():
                    self._alarms[task].add(found["drops"])

    def _drawn(self, step: int) -> dict[str, NDArray[np.int64]]:
        """Return places in each task's pool, with replacement; they depend on seed and step alone."""
        rng = np.random.default_rng((self._seed, step))
        return {task: rng.integers(0, size, self.settings.documents) for task, size in self._live.sizes.items()}
