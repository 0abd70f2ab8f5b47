"""Several tasks at once: Holm's p-values, and the mean over tasks with the intervals and tests of a single one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import copysign, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from leaderboards.statistics.interval import Interval, undefined
from leaderboards.statistics.means import ratio_of_means
from leaderboards.statistics.paired import CORRECTION, PairedSample

Floats = NDArray[np.float64]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, in the order given.

    Sorted p₁ ≤ … ≤ p_m become max over j ≤ i of min(1, (m − j + 1)·p_j). Rejecting where that is ≤ α keeps the
    chance of any false rejection at α, however the tests depend on each other.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65–70. Ours: statsmodels' `multipletests` is equal, but
    slow to import.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def mean_bounds(
    estimates: Sequence[tuple[ArrayLike, float, ArrayLike]], shared: Sequence[str] | None = None
) -> tuple[Floats, Floats]:
    """Return both bounds of the unweighted mean of estimates, each (lower, estimate, upper); bounds may be arrays.

    Independent estimates: mean − √Σ(estimateᵢ − lowerᵢ)² / m and mean + √Σ(upperᵢ − estimateᵢ)² / m, by the method of
    variance estimates recovery (MOVER), Zou and Donner, Statistics in Medicine 27 (2008) 1693–1702: bounds that are not
    symmetric stay so. Estimates with the same entry in `shared` rest on the same documents: their distances are added
    before they are squared, which holds however they depend on each other. A single estimate keeps its bounds. In
    neither scipy nor statsmodels.
    """
    m = len(estimates)
    names = range(m) if shared is None else shared
    below: defaultdict[object, list[Floats]] = defaultdict(list)
    above: defaultdict[object, list[Floats]] = defaultdict(list)
    for name, (lower, estimate, upper) in zip(names, estimates, strict=True):
        below[name].append(estimate - np.asarray(lower))
        above[name].append(np.asarray(upper) - estimate)
    mean = sum(estimate for _, estimate, _ in estimates) / m
    return mean - _root_of_squares(below.values()) / m, mean + _root_of_squares(above.values()) / m


def _root_of_squares(distances: Iterable[list[Floats]]) -> Floats:
    return np.asarray(np.sqrt(sum(np.square(sum(dependent)) for dependent in distances)))


def mean_of_intervals(parts: list[Interval], shared: Sequence[str] | None = None, *, level: float = 0.95) -> Interval:
    """Return the unweighted mean of estimates, by MOVER as in `mean_bounds`; without bounds if a part has none."""
    n = sum(part.n for part in parts)
    method = parts[0].method if len(parts) == 1 else "MOVER of the tasks' intervals"
    estimates = [part.estimate for part in parts if part.estimate is not None]
    if len(estimates) < len(parts):
        return undefined(n, level, method)
    known = [
        (part.lower, part.estimate, part.upper)
        for part in parts
        if part.estimate is not None and part.lower is not None and part.upper is not None
    ]
    mean = sum(estimates) / len(parts)
    if len(known) < len(parts):
        return Interval(mean, None, None, n, level, method)
    lower, upper = mean_bounds(known, shared)
    return Interval(mean, float(lower), float(upper), n, level, method)


_LARGEST_SCORE = 37.0
"""The normal score of the smallest p-value that a float can hold."""

_GRID, _ZOOMS = 65, 5
"""Points of a grid of normal scores, and how often it is laid anew between two of them: exact to 2e-8."""


@dataclass(frozen=True, slots=True)
class MeanOfSamples:
    """The unweighted mean over tasks, as for a group or a quadrant.

    `data` names each task's data set: tasks that share one share documents. If not given, all are independent.
    """

    parts: tuple[PairedSample, ...]
    data: tuple[str, ...] | None = None

    @property
    def n(self) -> int:
        """All documents of all tasks."""
        return sum(part.n for part in self.parts)

    @property
    def difference(self) -> float:
        """The mean drop."""
        return sum(part.difference for part in self.parts) / len(self.parts)

    @property
    def method(self) -> str:
        """The name of the mean drop's interval."""
        return self.parts[0].method if len(self.parts) == 1 else "MOVER of the tasks' intervals"

    def bounds(self, alpha: float, *, correction: float = 0.0) -> tuple[float, float] | None:
        """Return the one-sided `alpha` bounds of the mean drop; None if one task's are unknown."""
        found = self.bounds_at(alpha, correction=correction)
        return None if found is None else (float(found[0]), float(found[1]))

    def bounds_at(
        self, alpha: ArrayLike, size: ArrayLike = 1.0, *, correction: float = 0.0
    ) -> tuple[Floats, Floats] | None:
        """Return `bounds` for arrays of levels and of relative sizes, as `PairedSample.bounds_at` does."""
        estimates = []
        for part in self.parts:
            bounds = part.bounds_at(alpha, size, correction=correction)
            if bounds is None:
                return None
            estimates.append((bounds[0], part.difference, bounds[1]))
        return mean_bounds(estimates, self.data)

    def p_values(self, margin: float) -> tuple[float, float] | None:
        """Return the p-values as `PairedSample.p_values` does: the level at which the bound meets the margin."""
        if len(self.parts) == 1:
            return self.parts[0].p_values(margin)
        upper = self.difference < margin
        low, high = 0.0, _LARGEST_SCORE  # of the standard normal distribution, whose tail is the level
        for _ in range(_ZOOMS):
            scores = np.linspace(low, high, _GRID)
            bounds = self.bounds_at(ndtr(-scores), correction=CORRECTION)
            if bounds is None:
                return None
            clear = bounds[1] < margin if upper else bounds[0] > margin
            last = int(np.flatnonzero(clear)[-1]) if np.any(clear) else 0
            low, high = float(scores[last]), float(scores[min(last + 1, _GRID - 1)])
        level = float(ndtr(-(low + high) / 2))
        return (level, 1 - level) if upper else (1 - level, level)

    def drop(self, *, level: float = 0.95) -> Interval:
        """Return the mean drop with its two-sided interval."""
        bounds = self.bounds((1 - level) / 2)
        lower, upper = bounds if bounds else (None, None)
        return Interval(self.difference, lower, upper, self.n, level, self.method)

    def accuracy(self, of: str, *, level: float = 0.95) -> Interval:
        """Return the mean over tasks of the "base" or "candidate" accuracy."""
        parts = [part.accuracy(of, level=level) for part in self.parts]
        return mean_of_intervals(parts, self.data, level=level)

    def retention(self, *, level: float = 0.95, origin: float = 0.0) -> Interval:
        """Return mean candidate accuracy / mean base accuracy; `origin` as in `PairedSample.retention`."""
        if len(self.parts) == 1:
            return self.parts[0].retention(level=level, origin=origin)
        m = len(self.parts)
        base, candidate = (sum(getattr(part, side) for part in self.parts) / m for side in ("base", "candidate"))
        covariance = (self._covariance(0), self._covariance(1), self._covariance(2))
        return ratio_of_means(base + origin, candidate + origin, covariance, self.n, level=level)

    def _covariance(self, which: int) -> float:
        """Return an entry of the two mean scores' covariance; tasks on the same documents vary as one."""
        roots: defaultdict[object, float] = defaultdict(float)
        for name, part in zip(self.data or range(len(self.parts)), self.parts, strict=True):
            entry = part.covariance[which]
            roots[name] += copysign(sqrt(abs(entry)), entry)
        return sum(copysign(root * root, root) for root in roots.values()) / len(self.parts) ** 2
