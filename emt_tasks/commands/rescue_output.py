"""What `emt rescue` shows of a search: the table, the frontier as JSON and as a picture, and the last line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from rich.table import Table

from emt_core.runs import Run
from leaderboards.comparison.forgetting import average
from leaderboards.comparison.samples import number_clusters, read_samples
from leaderboards.gate.decide import GateResult
from leaderboards.report.frontier import Point, draw
from leaderboards.report.text import bounds, number
from leaderboards.statistics import Interval, PairedSample, mean_covariance, ratio_of_means
from leaderboards.statistics.interval import undefined

if TYPE_CHECKING:
    from finetune.rescue.merges import Merge
    from finetune.rescue.search import Aim, Scores, Trial

OTHERS_SHOWN = 5
"""Merges of parts or of some of the change in the table, the best ones."""

_VERDICTS = {"not inferior": "passes", "forgetting": "fails", "undecided": "undecided"}
_NOTHING = Interval(0.0, 0.0, 0.0, 0, 0.95, "by definition")


@dataclass(frozen=True, slots=True)
class Search:
    """A finished search.

    Attributes:
        trials: of all merges, the chosen one first.
        aim: what was searched for.
        scores: of each merge by task, of at least its trial's documents.
        samples: the base's, by task, in the order of the search's documents; columns `doc_id` and `cluster`.
        scaled: whether the candidate is an adapter that a merge only scales.
        parts: the parts that fine-tuning changed.
    """

    trials: Sequence[Trial]
    aim: Aim
    scores: Mapping[Merge, Scores]
    samples: Mapping[str, pl.DataFrame]
    scaled: bool
    parts: Sequence[str]

    @property
    def documents(self) -> dict[str, list[int]]:
        """The documents of each task that the search may have seen."""
        return {task: frame["doc_id"].to_list() for task, frame in self.samples.items()}

    def name(self, merge: Merge) -> str:
        """Return a merge in the words that suit the candidate."""
        return merge.as_scale() if self.scaled else str(merge)

    def drop(self, trial: Trial, task: str) -> Interval:
        """Return what a trial lost on a task in points, paired by document; below 0 is gained."""
        return self._paired(trial, task).drop().scaled(100)

    def learned(self, trial: Trial) -> Interval:
        """Return what a trial learned in percent of the candidate's gain, which is taken as known."""
        return self._paired(trial, self.aim.learned).drop().scaled(-100 / self.aim.gained)

    def worst(self, trial: Trial) -> Interval:
        """Return the largest drop, as estimated, on the other tasks."""
        return max((self.drop(trial, task) for task in self.aim.margins), key=lambda drop: drop.estimate or 0.0)

    def _paired(self, trial: Trial, task: str) -> PairedSample:
        base, merged = (scores[task][: trial.documents] for scores in (self.aim.base, self.scores[trial.merge]))
        sample = PairedSample.from_scores(base, merged, number_clusters(self.samples[task].head(trial.documents)))
        assert sample is not None, "a trial has documents"
        return sample


def table(search: Search) -> Table:
    """Return the frontier: each share on the most documents that it got, the best of the others, what was chosen."""
    found = Table(box=None, padding=(0, 2, 0, 0))
    found.add_column("merge", overflow="fold")
    for column in ("documents", "learned, %", "worst drop"):
        found.add_column(column, justify="right", no_wrap=True)
    plain = [trial for trial in search.trials if _kind(trial.merge) == "share"]
    whole = search.trials[0].documents
    others = [trial for trial in search.trials if trial not in plain and trial.documents == whole]
    for trial in [*sorted(plain, key=lambda one: one.merge.share), *others[:OTHERS_SHOWN]]:
        mark = " ←" if trial is search.trials[0] else ""
        worst = 100 * max(trial.drops.values())
        name = f"{search.name(trial.merge)}{mark}"
        found.add_row(name, str(trial.documents), number(100 * trial.learned, 0), number(worst))
    return found


def frontier(search: Search) -> str:
    """Return all trials as JSON: learned in percent of the candidate's gain, drops in points, with their intervals."""
    return json.dumps([_row(search, trial) for trial in search.trials], indent=1, ensure_ascii=False) + "\n"


def _row(search: Search, trial: Trial) -> dict[str, Any]:
    merge = trial.merge
    return {
        "merge": search.name(merge),
        "kind": _kind(merge),
        "share": merge.share,
        "scale": 1 - merge.share if search.scaled else None,
        "parts": dict(merge.parts),
        "density": merge.sparse.density if merge.sparse else None,
        "documents": trial.documents,
        "learned": search.learned(trial).as_dict(),
        "drops": {task: search.drop(trial, task).as_dict() for task in search.aim.margins},
        "may_pass": trial.promising,
        "chosen": trial is search.trials[0],
    }


def _kind(merge: Merge) -> str:
    """Return `ties` or `dare`, `parts` where one has a share of its own, or else `share`."""
    return merge.sparse.way if merge.sparse else "parts" if merge.parts else "share"


def picture(search: Search, margin: float | None) -> str:
    """Return all trials as a picture, with the margin of the other tasks if it is the same for all."""
    points = [
        Point(
            search.name(trial.merge),
            search.learned(trial),
            search.worst(trial),
            trial.documents,
            trial.promising,
            chosen=trial is search.trials[0],
            label=_label(search, trial),
        )
        for trial in search.trials
    ]
    return draw([Point("the base", _NOTHING, _NOTHING, points[0].documents, True, label="base"), *points], margin)


def _label(search: Search, trial: Trial) -> str:
    if trial is search.trials[0]:
        return "chosen"
    return "candidate" if trial.merge.share == 0 and _kind(trial.merge) == "share" else ""


def kept(base: Run, candidate: Run, merged: Run, task: str, without: Sequence[int]) -> Interval:
    """Return the share of the candidate's gain that the merge has, on the documents that the search did not see.

    A ratio of two means over the same documents, with the interval of the delta method on its logarithm.
    """
    named = {"base": base, "candidate": candidate, "merged": merged}
    frames = [
        read_samples(run.tasks[task]).frame.select("doc_id", "cluster", pl.col("score").alias(name))
        for name, run in named.items()
    ]
    both = frames[0].join(frames[1].drop("cluster"), on="doc_id").join(frames[2].drop("cluster"), on="doc_id")
    both = both.drop_nulls([*named]).filter(~pl.col("doc_id").is_in([*without])).sort("doc_id")
    if both.height < 2:
        return undefined(both.height, 0.95, "too few documents")
    gains = np.stack([(both[name] - both["base"]).to_numpy() for name in ("candidate", "merged")], axis=1)
    spread = mean_covariance(gains, number_clusters(both))
    covariance = (float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1]))
    whole, part = gains.mean(axis=0)
    return ratio_of_means(float(whole), float(part), covariance, both.height)


def in_a_line(name: str, share: Interval, after: GateResult, learn: str) -> str:
    """Say what the chosen merge keeps, what it forgets, and the verdict."""
    percent = share.scaled(100)
    others = [task for task in after.comparison.tasks if task.task != learn and task.sample]
    lost = average("others", others).scores.forgetting
    return (
        f"{name}: keeps {number(percent.estimate, 0)} % ({bounds(percent)}) of what was learned, forgetting "
        f"{number(lost.estimate)} points ({bounds(lost)}) in the mean of the others, {_VERDICTS[after.outcome]}."
    )
