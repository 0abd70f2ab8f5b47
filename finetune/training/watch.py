"""Forgetting seen while it happens, and stopped: live accuracy, and how far answers have moved from the base's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emt_core.errors import UserError, listed
from finetune.data.collate import TrainingBatch
from finetune.recipes.schema import Probe
from finetune.training.alarm import Alarm
from finetune.training.checkpoint import PROBE
from finetune.training.moved import Moved
from finetune.training.pace import Pace
from finetune.training.standing import MARGIN, Standing

ALPHA = 0.05
"""The chance of a false alarm over a training, all tasks together."""

SLOWER = 0.1
"""The share of the learning rate after an alarm."""

EVERY, ALARM = "probe_every", "alarm"
"""The names in the log of the interval that `every: auto` has found, and of an alarm."""

_COLUMNS = 80


class Live(Protocol):
    """Documents of tasks that a model in training answers; see `finetune.training.evaluation.LiveSample`."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many documents each task's pool has."""

    def answers(self, model: Any, places: Mapping[str, Sequence[int]]) -> Mapping[str, Sequence[str]]:
        """Return the answers to some documents of each task's pool."""

    def scored(
        self, answers: Mapping[str, Sequence[str]], places: Mapping[str, Sequence[int]]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Return the accuracy of answers, the same on all processes."""

    def batches(self, model: Any, documents: int) -> Mapping[str, Sequence[TrainingBatch]]:
        """Return the first documents of each pool as batches, with the tokens that the model writes as their labels."""


class Measured(Protocol):
    """How far a model has moved on a fixed probe; see `finetune.training.moved.FixedProbe`."""

    def measure(self, model: Any) -> Mapping[str, Moved]:
        """Return how far each task's answers have moved."""


MakeFixed = Callable[[Any, Mapping[str, Sequence[TrainingBatch]]], Measured]
"""Makes the fixed probe of a model, still the base, and batches with its answers."""


class Watch:
    """Looks at a model every few steps.

    Args:
        settings: the recipe's.
        live: answers and scores documents.
        steps: of the whole training.
        seed: of the documents that are drawn.
        fixed: makes the fixed probe; None leaves it out.
        together: turns a process's seconds into those that all processes agree on.

    Raises:
        UserError: the task to learn is not one of the tasks, or the only one.
    """

    def __init__(
        self,
        settings: Probe,
        live: Live,
        steps: int,
        seed: int,
        fixed: MakeFixed | None = None,
        together: Callable[[float], float] = float,
    ) -> None:
        self.settings, self._live, self._steps, self._seed, self._make = settings, live, steps, seed, fixed
        tasks = list(live.sizes)
        if settings.learn is not None and settings.learn not in tasks:
            raise UserError(f"probe.learn: {settings.learn} is not one of probe.tasks ({listed(tasks)})")
        self._others = [task for task in tasks if task != settings.learn]
        if not self._others:
            raise UserError(f"probe.tasks: {settings.learn} is to be learned, and there is no other to be forgotten")
        self.every = settings.every if isinstance(settings.every, int) else None
        """Steps from one look to the next; None until `auto` has found it."""
        self.forgotten: list[str] = []
        """The tasks that are shown to have lost more than the margin; none without `stop`."""
        self.looks, self.seconds, self.before_s, self.scored, self.scoring_s = 0, 0.0, 0.0, 0, 0.0
        """Looks since this process began and their seconds; those before the first step; checkpoints scored."""
        self.pace = Pace(0.0, together)
        self._alarms: dict[str, Alarm] = {}
        self._base: Mapping[str, NDArray[np.float64]] = {}
        self._fixed: Measured | None = None
        if self.every is not None:
            self._begin(self.every)

    def start(self, model: Any) -> dict[str, Any]:
        """Keep what the base knows of the pool; return what is logged of it. The weights must still be the base's."""
        began = time.perf_counter()
        places = {task: range(size) for task, size in self._live.sizes.items()}
        answers = self._live.answers(model, places)
        self._base = self._live.scored(answers, places)
        documents = sum(min(self.settings.documents, size) for size in self._live.sizes.values())
        self.pace.look = documents / sum(map(len, answers.values())) * (time.perf_counter() - began)
        moved: Mapping[str, Moved] = {}
        if self._make is not None:
            self._fixed = self._make(model, self._live.batches(model, self.settings.documents))
            measuring = time.perf_counter()
            moved = self._fixed.measure(model)
            self.pace.look += time.perf_counter() - measuring
        self.before_s = time.perf_counter() - began
        return {task: {"accuracy": float(scores.mean())} | _numbers(moved, task) for task, scores in self._base.items()}

    def timed(self, seconds: float) -> int | None:
        """Note a step's time; return how often to look, once, when `every: auto` finds it."""
        if self.every is not None:
            return None
        every = self.pace.timed(seconds)
        if every is not None:
            self._begin(every)
        return every

    @property
    def ends(self) -> bool:
        """Whether training is to end."""
        return bool(self.forgotten) and self.settings.then == "end"

    @property
    def rate_share(self) -> float:
        """The share of the learning rate to train at."""
        return SLOWER if self.forgotten and self.settings.then == "slower" else 1.0

    def due(self, step: int) -> bool:
        """Whether to look after this step, counted from 1."""
        return self.every is not None and step % self.every == 0

    def look(self, model: Any, step: int) -> dict[str, Any]:
        """Draw documents, score them, and return what is logged of each task.

        That is its `accuracy`, the `base`'s on the same documents, their `drops`, and `kl`, `shift` and `bias` of
        `Moved`. `evidence` is the capital of whoever bets that the task has lost more than the margin; 1/α raises the
        alarm.
        """
        began = time.perf_counter()
        drawn = self._drawn(step)
        unique = {task: np.unique(places) for task, places in drawn.items()}
        asked = {task: places.tolist() for task, places in unique.items()}
        scored = self._live.scored(self._live.answers(model, asked), asked)
        moved = self._fixed.measure(model) if self._fixed else {}
        found: dict[str, Any] = {}
        for task, places in drawn.items():
            now = scored[task][np.searchsorted(unique[task], places)]
            drops = self._base[task][places] - now
            found[task] = {
                "accuracy": float(now.mean()),
                "base": float(self._base[task][places].mean()),
                "drops": drops.tolist(),
            } | _numbers(moved, task)
            if task in self._alarms:
                self._bet(task, drops)
                found[task]["evidence"] = round(self._alarms[task].capital, 4)
        self.looks += 1
        self.seconds += time.perf_counter() - began
        return found

    def standing(self, model: Any, step: int) -> Standing:
        """Score the whole pool: what has been learned, and what has been lost."""
        began = time.perf_counter()
        places = {task: range(size) for task, size in self._live.sizes.items()}
        scored = self._live.scored(self._live.answers(model, places), places)
        drops = {task: 100 * float((self._base[task] - scored[task]).mean()) for task in places}
        self.scored += 1
        self.scoring_s += time.perf_counter() - began
        return Standing.of(step, drops, self.settings.learn, self.settings.stop or MARGIN)

    def restore(self, log: Path, step: int) -> None:
        """Go on after a step, by what the run has logged until then."""
        records = [record for record in _records(log) if record["step"] <= step]
        for record in records:
            if EVERY in record:
                self._begin(int(record[EVERY]))
        for record in records:
            for task, found in record.get(PROBE, {}).items():
                if task in self._alarms and "drops" in found:
                    self._bet(task, np.asarray(found["drops"]))

    def in_a_line(self, step: int, found: Mapping[str, Any]) -> str:
        """Say what a look saw in a line of a terminal: points and KL, first of what is learned, then of what lost most.

        Names go without what all begin with; the tasks that do not fit are counted.
        """
        points = {task: 100 * (one["accuracy"] - one["base"]) for task, one in found.items()}
        names = _short(list(found))
        said = [
            f"{names[task]} {round(points[task]):+d}" + (f" KL {one['kl']:.2g}" if "kl" in one else "")
            for task, one in sorted(found.items(), key=lambda item: (item[0] != self.settings.learn, points[item[0]]))
        ]
        return _fitting(f"step {step}: ", said)

    @property
    def cost(self) -> str:
        """What was done before the first step and at saves, in words."""
        scored = f", {self.scored} checkpoints scored in {self.scoring_s:.1f} s" if self.scored else ""
        return f"the base's answers took {self.before_s:.1f} s before{scored}"

    def _begin(self, every: int) -> None:
        self.every = every
        looks, margin = max(1, self._steps // every), (self.settings.stop or 0.0) / 100
        self._alarms = {task: Alarm(margin, looks, ALPHA / len(self._others)) for task in self._others}

    def _bet(self, task: str, drops: NDArray[np.float64]) -> None:
        if self._alarms[task].add(drops) and self.settings.stop and task not in self.forgotten:
            self.forgotten.append(task)

    def _drawn(self, step: int) -> dict[str, NDArray[np.int64]]:
        """Return places in each task's pool, with replacement; they depend on seed and step alone."""
        rng = np.random.default_rng((self._seed, step))
        return {task: rng.integers(0, size, self.settings.documents) for task, size in self._live.sizes.items()}


def _numbers(moved: Mapping[str, Moved], task: str) -> dict[str, float]:
    """Return how far a task has moved, as logged; nothing where that was not measured."""
    values = asdict(moved[task]) if task in moved else {}
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def _short(names: Sequence[str]) -> dict[str, str]:
    """Return names without the words, between underscores, that all of them begin with."""
    words = [name.split("_") for name in names]
    most = min(map(len, words)) - 1 if len(names) > 1 else 0
    common = next((place for place in range(most) if len({row[place] for row in words}) > 1), most)
    return {name: "_".join(row[common:]) for name, row in zip(names, words, strict=True)}


def _fitting(begin: str, parts: Sequence[str]) -> str:
    """Return as many of the parts as fit on a line, and how many do not; the first one in any case."""
    for count in range(len(parts), 0, -1):
        more = f", {len(parts) - count} more" if count < len(parts) else ""
        line = begin + ", ".join(parts[:count]) + more
        if len(line) < _COLUMNS:
            break
    return line


def _records(log: Path) -> Iterable[dict[str, Any]]:
    return map(json.loads, log.read_text(encoding="utf-8").splitlines()) if log.is_file() else ()
