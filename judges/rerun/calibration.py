"""How often the rules are right at each confidence, by labelled answers; and what threshold the cascade then needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from emt_core.errors import UserError

_FOLDS = 5
_FEWEST = 50


@dataclass(frozen=True, slots=True)
class Level:
    """One confidence of the rules: how many answers have it, how many of the verdicts are right, the fitted share."""

    confidence: float
    answers: int
    right: int
    fitted: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the cascade does at a threshold: answers it asks a model about, and wrong verdicts it keeps, as shares."""

    threshold: float
    asked: float
    wrong: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The rules' confidence measured against labels.

    `error` and `error_fitted` are the mean distance between confidence and the share that is right (expected
    calibration error) before and after fitting; `brier` and `brier_fitted` the mean squared distance from right (1) or
    wrong (0). What is fitted is measured on answers that it was not fitted to, in five parts. `thresholds` has one
    entry for each level and one above all.
    """

    answers: int
    right: int
    error: float
    error_fitted: float
    brier: float
    brier_fitted: float
    levels: tuple[Level, ...]
    thresholds: tuple[Threshold, ...]

    def for_error(self, most: float) -> Threshold:
        """Return the lowest threshold that keeps at most this share of wrong verdicts."""
        return next(choice for choice in self.thresholds if choice.wrong <= most)

    def for_calls(self, most: float) -> Threshold:
        """Return the highest threshold that asks about at most this share of the answers."""
        return [choice for choice in self.thresholds if choice.asked <= most][-1]


def calibrate(confidences: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Fit a rising step function from confidence to the share of right verdicts (isotonic regression).

    Args:
        confidences: of the rules, from 0 to 1.
        right: whether each verdict agrees with its label.

    Raises:
        UserError: there are too few answers.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    if len(right) < _FEWEST:
        raise UserError(f"calibrate: {len(right)} labelled answers; expected at least {_FEWEST}")

    def fitted(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        return np.asarray(model.fit(given[known], hit[known]).predict(given[wanted]))

    given, hit = np.asarray(confidences, dtype=float), np.asarray(right, dtype=float)
    everything = np.arange(len(hit))
    parts = np.array_split(np.random.default_rng(0).permutation(everything), _FOLDS)
    held_out = np.empty(len(hit))
    for part in parts:
        held_out[part] = fitted(np.setdiff1d(everything, part), part)
    final = fitted(everything, everything)
    levels = []
    for confidence in np.unique(given):
        here = given == confidence
        levels.append(Level(float(confidence), int(here.sum()), int(hit[here].sum()), float(final[here][0])))
    return Calibration(
        answers=len(hit),
        right=int(hit.sum()),
        error=_distance(given, hit),
        error_fitted=_distance(held_out, hit),
        brier=float(((given - hit) ** 2).mean()),
        brier_fitted=float(((held_out - hit) ** 2).mean()),
        levels=tuple(levels),
        thresholds=_thresholds(levels),
    )


def _distance(stated: Iterable[float], right: Iterable[float]) -> float:
    """Return the mean distance between confidence and the share that is right, in ten bins of confidence."""
    bins: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for confidence, hit in zip(stated, right, strict=True):
        bins[min(int(confidence * 10), 9)].append((float(confidence), float(hit)))
    gaps = (abs(sum(confidence - hit for confidence, hit in pairs)) for pairs in bins.values())
    return sum(gaps) / sum(map(len, bins.values()))


def _thresholds(levels: Sequence[Level]) -> tuple[Threshold, ...]:
    total = sum(level.answers for level in levels)
    found = []
    for number in range(len(levels) + 1):
        asked, kept = levels[:number], levels[number:]
        threshold = levels[number].confidence if number < len(levels) else 1.01
        wrong = sum(level.answers * (1 - level.fitted) for level in kept) / total
        found.append(Threshold(threshold, sum(level.answers for level in asked) / total, wrong))
    return tuple(found)
