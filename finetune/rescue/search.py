"""Which merge to choose: many on few documents, few on many (successive halving, arXiv 1502.07943)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from finetune.rescue.merges import Merge, Sparse

Scores = Mapping[str, NDArray[np.float64]]
"""Task: the score of each of the search's first documents, from 0 to 1."""

Evaluate = Callable[[Merge, int], Scores]
"""Score a merge on the first so many documents of each task."""

_ERRORS = 2.0
"""Standard errors above an estimated drop at which it still has to be within the margin: the best of many flatters."""

_ABOUT = 0.05
"""The part of what was learned that is given up for safety."""

_STEP = 0.05
"""Between the shares that are tried beside the best one."""

SPARSE = (
    *(Sparse("ties", density) for density in (0.2, 0.1, 0.5)),
    *(Sparse("dare", density) for density in (0.5, 0.1)),
)
"""What is tried of the change alone, at the best share, and of TIES at none too. The papers keep a fifth (TIES), and a
tenth or less (DARE)."""

SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(10))


@dataclass(frozen=True, slots=True)
class Aim:
    """What a merge is for.

    `learned` is the task that was learned, `gained` by how much the candidate gained on it, from 0 to 1; `margins` what
    each other task may lose, from 0 to 1; `base` the base's scores of the search's documents.
    """

    learned: str
    gained: float
    margins: Mapping[str, float]
    base: Scores


@dataclass(frozen=True, slots=True)
class Trial:
    """A merge on some documents of each task.

    `learned` is its gain on the new task as a share of the candidate's; `worst` by how much it loses more than the
    margin on its worst task, with two standard errors, from -1 to 1; `drops` its loss on each other task. All are
    estimates.
    """

    merge: Merge
    documents: int
    learned: float
    worst: float
    drops: Mapping[str, float]

    @property
    def promising(self) -> bool:
        """Whether it may pass the gate."""
        return self.worst <= 0


def weigh(merge: Merge, scores: Scores, aim: Aim) -> Trial:
    """Return how a merge does by its scores."""
    documents = min(len(values) for values in scores.values())
    drops: dict[str, float] = {}
    bounds = []
    for task, margin in aim.margins.items():
        lost = aim.base[task][: len(scores[task])] - scores[task]
        drops[task] = float(lost.mean())
        bounds.append(drops[task] + _ERRORS * _error(lost) - margin)
    gains = scores[aim.learned] - aim.base[aim.learned][: len(scores[aim.learned])]
    return Trial(merge, documents, float(gains.mean()) / aim.gained, max(-1.0, *bounds), drops)


def _error(values: NDArray[np.float64]) -> float:
    """Return the mean's standard error; a spread of zero on few documents is no certainty: as if one more differed."""
    spread = float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else 1.0
    return max(spread, 1 / (len(values) + 1))


def better(trial: Trial) -> tuple[float, float]:
    """Order trials, the best first: those that may pass by what they learned, then the others by what they lose."""
    return (max(0.0, trial.worst), -trial.learned)


def search(evaluate: Evaluate, aim: Aim, shares: Iterable[float], *, first: int, most: int) -> list[Trial]:
    """Return the trials of every merge, each on the most documents that it got, the best of the last round first.

    Args:
        evaluate: scores a merge.
        aim: what it is for.
        shares: the base's shares to try.
        first: documents of a task in the first round; each round has twice as many, for half of the merges.
        most: documents of a task in the last round.
    """
    left = [Merge(share) for share in shares]
    done: dict[Merge, Trial] = {}
    documents = min(first, most)
    while True:
        round_ = sorted((weigh(merge, evaluate(merge, documents), aim) for merge in left), key=better)
        done |= {trial.merge: trial for trial in round_}
        if documents == most:
            return [*round_, *(trial for merge, trial in done.items() if merge not in left)]
        documents = min(2 * documents, most) if len(left) > 1 else most
        left = [trial.merge for trial in round_[: max(1, (len(round_) + 1) // 2)]]


def chosen(trials: Sequence[Trial]) -> Trial:
    """Return the safest of those that learned about as much as the best that may pass; the best one if none may.

    Safest: that loses least, as estimated; of equals, that with the largest share of the base. What few documents
    cannot tell apart, the gate's many may.
    """
    promising = [trial for trial in trials if trial.promising]
    if not promising:
        return min(trials, key=better)
    most = max(trial.learned for trial in promising)
    near = [trial for trial in promising if trial.learned >= most - _ABOUT * abs(most)]
    return min(near, key=lambda trial: (trial.worst, -trial.merge.share, len(trial.merge.parts), -trial.learned))


def refine(
    evaluate: Evaluate, aim: Aim, found: Sequence[Trial], parts: Sequence[str], *, first: int, documents: int
) -> list[Trial]:
    """Return further trials with those of the last round, the chosen one first.

    Shares beside the best one, on all documents: few cannot tell neighbours apart, of which the safer one is wanted.
    Then only some of what changed (TIES, DARE), and one part after the other with the base's weights, or the
    candidate's: one that helps stays so for the next. Such a merge that is no better than the best one on the same few
    documents is tried on no more.
    """
    trials = [trial for trial in found if trial.documents == documents]
    tried: list[Trial] = []

    def attempt(merge: Merge, count: int) -> None:
        best, count = chosen(trials).merge, min(count, documents)
        trial = weigh(merge, evaluate(merge, count), aim)
        while count < documents and better(trial) < better(weigh(best, evaluate(best, count), aim)):
            count = min(2 * count, documents)
            trial = weigh(merge, evaluate(merge, count), aim)
        tried.append(trial)
        if trial.documents == documents:
            trials.append(trial)

    start = found[0].merge.share
    for step in (-_STEP, _STEP):
        if 0 <= start + step < 1:
            attempt(Merge(round(start + step, 2)), documents)
    share = chosen(trials).merge.share
    for sparse in SPARSE:
        # What DARE leaves is all of the change on average, so without the base it does as the candidate.
        for of_base in dict.fromkeys((0.0, share) if sparse.way == "ties" else (share,)):
            attempt(Merge(of_base, sparse=sparse), first)
    for part in parts:
        best = chosen(trials).merge
        for of_base in (0.0, 1.0):
            attempt(Merge(best.share, {**best.parts, part: of_base}, best.sparse), first)
    best_trial = chosen(trials)
    others = [*trials, *(trial for trial in tried if trial.documents < documents)]
    return [best_trial, *sorted((trial for trial in others if trial is not best_trial), key=better)]
