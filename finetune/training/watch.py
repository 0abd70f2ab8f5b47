"""Forgetting seen while it happens, and stopped: live accuracy, and how far answers have moved from the base's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emt_core.errors import UserError, listed
from finetune.data.conversations import TrainingExample
from finetune.recipes.schema import Probe
from finetune.training.alarm import Alarm
from finetune.training.moved import Moved

ALPHA = 0.05
"""The chance of a false alarm over a training, all tasks together."""

MARGIN = 2.0
"""Points that a task of the best checkpoint may have lost, where the recipe sets no `stop`."""

SLOWER = 0.1
"""The share of the learning rate after an alarm."""

_SHARE = 0.05
"""Of the training's time that looks take by default."""

_TIMED_FROM, _TIMED_TO = 1, 4
"""The steps whose time says how often to look; the first step also compiles and allocates."""

_LEAST_LOOKS = 4


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
        """Return the accuracy of answers."""

    def examples(self, answers: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[TrainingExample]]:
        """Return the first documents of each pool as examples with these answers."""


class Measured(Protocol):
    """How far a model has moved on a fixed probe; see `finetune.training.moved.FixedProbe`."""

    def measure(self, model: Any) -> Mapping[str, Moved]:
        """Return how far each task's answers have moved."""


MakeFixed = Callable[[Any, Mapping[str, Sequence[TrainingExample]]], Measured]
"""Makes the fixed probe of a model, still the base, and examples with its answers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a checkpoint has learned and lost on the whole pool, in points; `worst` is the task that lost most."""

    step: int
    learned: float
    lost: float
    worst: str
    passes: bool

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts the best first: of those that pass by what they learned, of the others by what they lost."""
        return (0, -self.learned, self.lost, self.step) if self.passes else (1, self.lost, -self.learned, self.step)

    def __str__(self) -> str:
        verdict = "" if self.passes else ", more than it may; no checkpoint lost less"
        return f"learned {self.learned:.1f} points, lost at most {self.lost:.1f} ({self.worst}){verdict}"


class Watch:
    """Looks at a model every few steps.

    Args:
        settings: the recipe's.
        live: answers and scores documents.
        steps: of the whole training.
        seed: of the documents that are drawn.
        fixed: makes the fixed probe; None leaves it out.

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
    ) -> None:
        self.settings, self._live, self._steps, self._seed, self._make = settings, live, steps, seed, fixed
        tasks = list(live.sizes)
        if settings.learn is not None and settings.learn not in tasks:
            raise UserError(f"probe.learn: {settings.learn} is not one of probe.tasks ({listed(tasks)})")
        self._others = [task for task in tasks if task != settings.learn]
        if not self._others:
            raise UserError("probe.tasks: beside probe.learn there is none to be forgotten")
        self.every = settings.every if isinstance(settings.every, int) else None
        self.forgotten: list[str] = []
        """The tasks that are shown to have lost more than the margin; none without `stop`."""
        self.looks, self.seconds = 0, 0.0
        self._alarms: dict[str, Alarm] = {}
        self._base: Mapping[str, NDArray[np.float64]] = {}
        self._fixed: Measured | None = None
        self._look_s = 0.0
        self._steps_s: list[float] = []
        if self.every is not None:
            self._begin(self.every)

    def start(self, model: Any) -> None:
        """Keep what the base knows of the pool; the model's weights must still be the base's."""
        began = time.perf_counter()
        places = {task: range(size) for task, size in self._live.sizes.items()}
        answers = self._live.answers(model, places)
        self._base = self._live.scored(answers, places)
        share = self.settings.documents * len(places) / sum(map(len, answers.values()))
        self._look_s = share * (time.perf_counter() - began)
        if self._make is not None:
            first = {task: given[: self.settings.documents] for task, given in answers.items()}
            self._fixed = self._make(model, self._live.examples(first))
            began = time.perf_counter()
            self._fixed.measure(model)
            self._look_s += time.perf_counter() - began

    def timed(self, step: int, seconds: float, together: Callable[[float], float] = float) -> int | None:
        """Note a step's time; return how often to look, once, when `every: auto` is decided.

        Args:
            step: counted from 1.
            seconds: its time on this process.
            together: turns a process's seconds into those of all.
        """
        if self.every is not None:
            return None
        if len(self._steps_s) < _TIMED_TO:
            self._steps_s.append(seconds)
        if len(self._steps_s) < _TIMED_TO and step < self._steps:
            return None
        a_step = together(float(np.mean(self._steps_s[_TIMED_FROM:] or self._steps_s)))
        wanted = ceil(together(self._look_s) / (_SHARE * max(a_step, 1e-9)))
        self._begin(max(1, min(wanted, self._steps // _LEAST_LOOKS)))
        return self.every

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
            }
            if task in moved:
                found[task] |= {
                    name: round(value, 6) for name, value in asdict(moved[task]).items() if value is not None
                }
            if task in self._alarms:
                self._bet(task, drops)
                found[task]["evidence"] = round(self._alarms[task].capital, 4)
        self.looks += 1
        self.seconds += time.perf_counter() - began
        return found

    def standing(self, model: Any, step: int) -> Standing:
        """Score the whole pool: what has been learned, and what has been lost."""
        places = {task: range(size) for task, size in self._live.sizes.items()}
        scored = self._live.scored(self._live.answers(model, places), places)
        drops = {task: 100 * float((self._base[task] - scored[task]).mean()) for task in places}
        worst = max(self._others, key=drops.__getitem__)
        learned = -drops[self.settings.learn] if self.settings.learn else 0.0
        return Standing(step, learned, drops[worst], worst, drops[worst] <= (self.settings.stop or MARGIN))

    def restore(self, log: Path, step: int) -> None:
        """Go on after a step, by what the run has logged until then."""
        for record in _records(log):
            if record["step"] <= step and "probe_every" in record:
                self._begin(int(record["probe_every"]))
        for record in _records(log):
            if record["step"] <= step:
                for task, found in record.get("probe", {}).items():
                    if task in self._alarms:
                        self._bet(task, np.asarray(found["drops"]))

    def in_a_line(self, step: int, found: Mapping[str, Any]) -> str:
        """Say what a look saw, in at most a line of a terminal."""
        points = {task: 100 * (one["accuracy"] - one["base"]) for task, one in found.items()}
        worst = min(self._others, key=points.__getitem__)
        learned = f"learned {points[self.settings.learn]:+.0f} points, " if self.settings.learn else ""
        moved = f", KL {found[worst]['kl']:.2g}" if "kl" in found[worst] else ""
        return f"step {step}: {learned}{worst} {points[worst]:+.0f}{moved}"

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


def _records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
