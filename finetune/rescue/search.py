"""Which merge to choose: many on few documents, few on many (successive halving, arXiv 1502.07943)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from finetune.rescue.merges import Merge

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
    drops, worst = {}, -1.0
    for task, margin in aim.margins.items():
        lost = aim.base[task][: len(scores[task])] - scores[task]
        drops[task] = float(lost.mean())
        spread = float(lost.std(ddof=1)) / sqrt(len(lost)) if len(lost) > 1 else 1.0
        # A spread of zero on few documents is no certainty: as if one more had been lost.
        worst = max(worst, drops[task] + _ERRORS * max(spread, 1 / (len(lost) + 1)) - margin)
    gain = float((scores[aim.learned] - aim.base[aim.learned][: len(scores[aim.learned])]).mean())
    return Trial(merge, documents, gain / aim.gained, worst, drops)


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
    evaluate: Evaluate, aim: Aim, found: Sequence[Trial], parts: Sequence[str], *, documents: int
) -> list[Trial]:
    """Return the trials of shares beside the best one, then of parts; the chosen one first.

    One part after the other gets the base's weights, or the candidate's; one that helps stays so for the next.
    """
    start = found[0].merge.share
    near = [Merge(round(start + step, 2)) for step in (-_STEP, _STEP) if 0 <= start + step < 1]
    trials = [trial for trial in found if trial.documents == documents]
    trials += [weigh(merge, evaluate(merge, documents), aim) for merge in near]
    best = chosen(trials)
    for part in parts:
        for share in (0.0, 1.0):
            merge = Merge(best.merge.share, {**best.merge.parts, part: share})
            trials.append(weigh(merge, evaluate(merge, documents), aim))
        best = chosen(trials)
    return [best, *sorted((trial for trial in trials if trial is not best), key=better)]
