"""Scores of runs, document by document, and the intervals of what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from emt_core.measured import HEADER, read_measured
from emt_core.runs import Run, is_run, read_run
from leaderboards.comparison.causes import Causes, find_causes
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.samples import Samples, read_samples
from leaderboards.statistics import Interval, MeanOfSamples, PairedSample, mean_interval

Scores = NDArray[np.float64]
Measure = Literal["accuracy", "hallucinated", "class name chosen"]
Verdict = Literal["holds", "does not hold", "cannot be told"]

BASE, ENCODER, LAST = "base", "encoder", -1
"""The models that are no fine-tunings, and a fine-tuning's last checkpoint."""

RESCUED_RUN, SEARCHED = "rescued-run", "searched.json"
"""What `emt rescue` leaves: the run of the merge that it chose, and the documents that it chose it by."""

MEASURES: Mapping[Measure, Callable[[pl.DataFrame], pl.Series]] = {
    "accuracy": lambda frame: frame["score"].fill_null(0.0),
    "hallucinated": lambda frame: frame["category"].is_in(["intrinsic", "extrinsic"]).cast(pl.Float64),
    "class name chosen": lambda frame: frame["distracted"].fill_null(0.0),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that was evaluated: a run by its name, at the step of a checkpoint (the n-th; the last one is -1)."""

    name: str
    checkpoint: int = LAST


Setting = tuple[Model, Model, Sequence[str]]
"""Two models, and the tasks by which they are compared."""


NOTE = "<!-- Written by python -m tools.evidence; change tools/evidence instead. -->"
"""What every page begins with."""


class NotRun(Exception):
    """A model was not run, or not on a task."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that a claim comes down to: a number, in percentage points, above or below a bound.

    Of several settings (data sets, rates), it is their mean; `settings` are statements about each of them.
    """

    text: str
    found: Interval
    side: Literal["above", "below"] = "above"
    bound: float = 0.0
    settings: tuple[Statement, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether the whole 95 % interval is on the right side of the bound, or on the wrong one, or on both.

        It does not hold either where it is refuted in one setting.
        """
        if any(setting.verdict == "does not hold" for setting in self.settings):
            return "does not hold"
        lower, upper = self.found.lower, self.found.upper
        if lower is None or upper is None or lower <= self.bound <= upper:
            return "cannot be told"
        return "holds" if (lower > self.bound) == (self.side == "above") else "does not hold"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about a claim: it holds if all of its statements do, and does not if one does not.

    All of a conjunction's intervals having 95 % is enough for the whole (intersection-union test: Berger,
    Technometrics 24 (1982) 295-300).
    """

    statements: tuple[Statement, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the whole claim."""
        found = {statement.verdict for statement in self.statements}
        if found == {"holds"}:
            return "holds"
        return "does not hold" if "does not hold" in found else "cannot be told"


class Results:
    """All runs' scores; those of several seeds are averaged document by document.

    Args:
        folder: has the base's run, and for each experiment and seed a folder `evaluated`, or what `emt rescue` left.
        seeds: how many seeds to look for; one that is not there does not count.
        images: which tasks ask about the same images, by any name: they are not independent of each other.
    """

    def __init__(self, folder: Path, seeds: int, images: Mapping[str, Sequence[str]]) -> None:
        self.folder, self._seeds = folder, seeds
        self._images = {task: name for name, tasks in images.items() for task in tasks}
        self._run = lru_cache(maxsize=None)(read_run)
        self._samples: dict[tuple[Path, str], Samples] = {}
        file = folder / f"{ENCODER}.json"
        self._encoder: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def runs(self, model: Model) -> list[Path]:
        """The folders of a model's runs, one for each seed."""
        if model.name == BASE:
            return [self.folder / BASE] if is_run(self.folder / BASE) else []
        found = []
        for seed in range(self._seeds):
            name = f"{model.name}-{seed}"
            if (self.folder / f"{name}.done").exists() and (checkpoints := self._evaluated(name)):
                found.append(checkpoints[min(model.checkpoint, len(checkpoints) - 1)])
        return found

    def _evaluated(self, name: str) -> list[Path]:
        """The runs of a fine-tuning's checkpoints, in order; one that is being evaluated does not count."""
        found = sorted((self.folder / name / "evaluated").glob("[!.]*")) or [self.folder / name / RESCUED_RUN]
        return [path for path in found if is_run(path)]

    def searched(self, model: Model) -> dict[str, list[int]]:
        """The documents of each task by which a merge was chosen, and which so would flatter it; of others none."""
        files = [run.parent / SEARCHED for run in self.runs(model) if run.name == RESCUED_RUN]
        return json.loads(files[0].read_text(encoding="utf-8")) if files else {}  # of every seed the same

    def steps(self, name: str) -> list[int]:
        """The steps at which a fine-tuning was evaluated, by its first seed's folders."""
        (first, *_) = self.runs(Model(name))
        return [int(folder.name.rpartition("-")[2]) for folder in self._evaluated(first.parent.parent.name)]

    def there(self, *models: Model) -> bool:
        """Whether all of these have been run."""
        return all(self._encoder if model.name == ENCODER else self.runs(model) for model in models)

    def scores(self, model: Model, task: str, measure: Measure = "accuracy") -> Scores:
        """A measure of each document, (documents,), from 0 to 1.

        Raises:
            NotRun: the model has not been run, or not on this task.
        """
        if model.name == ENCODER and task in self._encoder:
            return np.asarray(self._encoder[task], np.float64)
        runs = [run for run in map(self._run, self.runs(model)) if task in run.tasks]
        if not runs:
            raise NotRun(f"{model.name} on {task}")
        rows = [MEASURES[measure](self._frame(run, task)).to_numpy() for run in runs]
        mean: Scores = np.mean(rows, axis=0)
        return mean

    def mean(self, model: Model, task: str, measure: Measure = "accuracy") -> float:
        """Percent."""
        return 100 * float(self.scores(model, task, measure).mean())

    def more(
        self,
        one: Model,
        other: Model,
        tasks: Sequence[str],
        measure: Measure = "accuracy",
        *,
        without: Mapping[str, Sequence[int]] | None = None,
    ) -> Interval:
        """By how many points one model's measure is above another's, in the mean over tasks.

        The interval is paired by document, as the gate's (`leaderboards.statistics`); the documents `without` of each
        task do not count.
        """
        return self.more_over([(one, other, tasks)], measure, without=without)

    def more_over(
        self,
        settings: Sequence[Setting],
        measure: Measure = "accuracy",
        *,
        without: Mapping[str, Sequence[int]] | None = None,
    ) -> Interval:
        """By how many points the first models are above the second ones, in the mean over settings and tasks."""
        left_out = without or {}
        pairs = [(one, other, task) for one, other, tasks in settings for task in tasks]
        parts = []
        for one, other, task in pairs:
            scores = (self.scores(model, task, measure) for model in (one, other))
            # Runs have all documents, in order: a document's number is its place.
            parts.append(self._pair(*(np.delete(of_all, list(left_out.get(task, ()))) for of_all in scores)))
        return MeanOfSamples(tuple(parts), tuple(self._images[task] for _, _, task in pairs)).drop().scaled(100)

    def causes(self, model: Model) -> tuple[Causes, ...]:
        """Why the first seed of a fine-tuning lost answers, in each task that was diagnosed.

        Raises:
            NotRun: it was not.
        """
        folders = [self.folder / f"{name}.probes" for name in (BASE, model.name)]
        runs = [run for name in (Model(BASE), model) for run in self.runs(name)[:1]]
        if len(runs) < 2 or not all((folder / HEADER).is_file() for folder in folders):
            raise NotRun(f"diagnosis of {model.name}")
        measured = [read_measured(folder) for folder in folders]
        base, candidate = map(self._run, runs)
        return find_causes(compare(base, candidate, tasks=list(measured[1].tasks)), *measured)

    def extra(self, changed: tuple[Model, Model], tasks: tuple[str, str]) -> Interval:
        """By how many points more the first task fell than the second, from the first model to the second.

        Both tasks ask about the same documents.
        """
        before, after = ([self.scores(model, task) for task in tasks] for model in changed)
        falls = (before[0] - after[0]) - (before[1] - after[1])
        variance = float(falls.var(ddof=1)) / len(falls)
        return mean_interval(float(falls.mean()), variance, len(falls), binary=False, clusters=None).scaled(100)

    @staticmethod
    def _pair(one: Scores, other: Scores) -> PairedSample:
        found = PairedSample.from_scores(one, other)
        if found is None:
            raise ValueError("no documents")
        return found

    def _frame(self, run: Run, task: str) -> pl.DataFrame:
        key = (run.path, task)
        if key not in self._samples:
            self._samples[key] = read_samples(run.tasks[task])
        return self._samples[key].frame
