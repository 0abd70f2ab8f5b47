"""Tests of a mean drop that few clusters or few changes cannot fool: resampling under the margin.

Where documents come in clusters, or scores are not 0 or 1, the spread that the sample shows may be far from the true
one: with one changed image among twenty, no formula for a variance sees what a second would do. Here the drop that was
seen is compared with those of samples drawn from the null hypothesis that fits the data best:

1. The sample's own outcomes, and half an outcome in which every answer of a cluster is lost, whether or not one was
   seen, are weighted by exp(τ·drop), with τ such that the mean drop is the margin (exponential tilting: of all
   distributions on these outcomes with that mean, the one closest in Kullback-Leibler divergence; Efron, Canadian
   Journal of Statistics 9 (1981) 139–172, section 8).
2. The p-value is the probability that the sum over as many clusters, of the same sizes, is no larger than the one that
   was seen. It is computed, not drawn: the distribution of the sum is a power of a Fourier transform.
3. It is multiplied by `CAUTION`, since the null hypothesis is itself fitted.

`python -m benchmarks.gate_errors` prints how often the tests err; docs/reference/error-rates.md holds the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

PSEUDO_COUNT = 0.5
"""How many fully lost clusters are added to those that were seen."""

CAUTION = 1.6
"""What p-values are multiplied by; both constants were chosen by simulation."""

_STEPS = (1.0, 1 / 2, 1 / 4, 1 / 10, 1 / 16)
"""Steps of the grid on which drops are added up, in documents; the first that fits them all is taken."""

_POINTS = 2**14
"""Points of that grid, where a step stays below a sixteenth of the total's standard deviation."""

_SMALLEST = 1e-12
"""p-values below this are rounding errors of the transform."""

_STEPS_OF_NEWTON, _CLOSE = 100, 1e-12
"""When the search for τ ends: after so many steps, or with the mean so close."""

_CURVE = 24
"""Margins at which the p-values are computed to read bounds off."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """How the answers changed, cluster by cluster: equal ones once, with their number.

    `drops` is the mean drop in a cluster, from −1 (all gained) to 1 (all lost); `sizes` its number of documents;
    `counts` how many clusters are like that. All have the shape (kinds,). Compared by identity.
    """

    drops: Floats
    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def from_scores(cls, drops: Floats, clusters: NDArray[np.int64] | None = None) -> Outcomes:
        """Sum up the drop of each document, (documents,), by clusters numbered from 0 on; each its own if None."""
        if clusters is None:
            sizes, means = np.ones(len(drops), dtype=np.int64), drops
        else:
            sizes = np.bincount(clusters)
            means = np.bincount(clusters, drops) / sizes
        return cls.of_clusters(means, sizes)

    @classmethod
    def of_clusters(cls, drops: Floats, sizes: NDArray[np.int64]) -> Outcomes:
        """Sum up the mean drop in each cluster and its number of documents, both (clusters,)."""
        kinds, counts = np.unique(np.stack([drops.round(12), sizes.astype(np.float64)]), axis=1, return_counts=True)
        return cls(kinds[0], kinds[1].astype(np.int64), counts)

    def with_more(self, lost: int, gained: int) -> Outcomes:
        """Return the outcomes with so many single documents more that were lost or gained."""
        drops, counts = np.array([1.0, -1.0]), np.array([lost, gained])
        kept = counts > 0
        return Outcomes(
            np.append(self.drops, drops[kept]),
            np.append(self.sizes, np.ones(kept.sum(), dtype=np.int64)),
            np.append(self.counts, counts[kept]),
        )

    @property
    def total(self) -> float:
        """The sum of all documents' drops."""
        return float((self.drops * self.sizes * self.counts).sum())

    @property
    def documents(self) -> int:
        """The number of documents."""
        return int((self.sizes * self.counts).sum())

    @property
    def largest_effect(self) -> float:
        """The design effect of clusters that change as a whole: Σ sizes² / Σ sizes."""
        return float((self.sizes**2 * self.counts).sum() / self.documents)

    @property
    def mirrored(self) -> Outcomes:
        """The outcomes with base and candidate exchanged."""
        return Outcomes(-self.drops, self.sizes, self.counts)

    def p_values(self, margin: float) -> tuple[float, float]:
        """Return the p-values of H0 "the drop is the margin or more" and of H0 "the margin or less"."""
        return _p_value(self, margin), _p_value(self.mirrored, -margin)

    def bounds(self, alpha: ArrayLike) -> tuple[Floats, Floats]:
        """Return the one-sided `alpha` bounds of the mean drop below and above: the margins that just fail a test."""
        return -_upper_bound(_curve(self.mirrored), alpha), _upper_bound(_curve(self), alpha)


def _p_value(outcomes: Outcomes, margin: float) -> float:
    """Return the cautious probability of a total no larger than the one seen, where the mean drop is the margin."""
    if outcomes.total >= margin * outcomes.documents:
        return 1.0
    if margin >= 1:
        return _SMALLEST
    kinds = int(outcomes.counts.sum())
    drops = np.append(outcomes.drops, 1.0)
    weights = tilted(drops, np.append(outcomes.counts / kinds, PSEUDO_COUNT / kinds), margin)
    return float(np.clip(CAUTION * _no_larger(drops, weights, outcomes), _SMALLEST, 1.0))


def tilted(drops: Floats, weights: Floats, mean: float) -> Floats:
    """Return weights ∝ weights·exp(τ·drops), summing to 1, whose mean is `mean`; τ is never below 0."""

    def tilt(tau: float) -> Floats:
        logs = np.log(weights) + tau * drops
        exponentials = np.exp(logs - logs.max())
        return np.asarray(exponentials / exponentials.sum(), dtype=np.float64)

    low, high, tau = 0.0, inf, 0.0
    for _ in range(_STEPS_OF_NEWTON):
        tried = tilt(tau)
        seen = float(tried @ drops)
        if abs(mean - seen) < _CLOSE or (tau == 0 and seen > mean):
            break
        low, high = (tau, high) if seen < mean else (low, tau)
        variance = float(tried @ (drops - seen) ** 2)
        newton = tau + (mean - seen) / variance if variance > 0 else inf
        furthest = min(high, 2 * low + 1)  # one step of Newton's may leap too far, where little varies
        tau = newton if low < newton < furthest else furthest if furthest < high else (low + high) / 2
    return tried


def _no_larger(drops: Floats, weights: Floats, outcomes: Outcomes) -> float:
    """Return P(total ≤ the one seen) for clusters of the outcomes' sizes with drops drawn by these weights."""
    sizes, places = np.unique(outcomes.sizes, return_inverse=True)
    numbers = np.bincount(places.ravel(), outcomes.counts)
    step = _step(outcomes)
    reach = [ceil(size / step) for size in sizes]
    offset = int(sum(most * number for most, number in zip(reach, numbers, strict=True)))
    length = 1 << int(2 * offset).bit_length()
    transform = np.ones(length // 2 + 1, dtype=np.complex128)
    for size, most, number in zip(sizes, reach, numbers, strict=True):
        transform *= np.fft.rfft(_on_grid(drops * size / step + most, weights, 2 * most + 2), length) ** number
    chances = np.fft.irfft(transform, length)
    place = outcomes.total / step + offset + 1e-6
    last = floor(place)
    # Where the grid is coarser than the outcomes, the next point counts by the share of the step that was reached.
    share = (place - last) if step > _STEPS[0] else 0.0
    return float(chances[: last + 1].sum() + share * chances[last + 1])


def _on_grid(places: Floats, weights: Floats, points: int) -> Floats:
    """Return the weights on a grid of so many points; one between two points is shared, so that the mean stays."""
    below = np.floor(places + 1e-9)
    above = np.clip(places - below, 0.0, 1.0)
    first = below.astype(np.int64)
    shares = (np.bincount(first, weights * (1 - above), points), np.bincount(first + 1, weights * above, points))
    return np.asarray(sum(shares), dtype=np.float64)


def _step(outcomes: Outcomes) -> float:
    totals = outcomes.drops * outcomes.sizes
    fits = (step for step in _STEPS if np.allclose(totals / step, np.rint(totals / step), atol=1e-6))
    spread = sqrt(float((outcomes.counts * totals**2).sum()) + float(outcomes.sizes.max()) ** 2)
    return max(next(fits, _STEPS[-1]), min(2 * outcomes.documents / _POINTS, spread / 16))


@lru_cache(maxsize=256)
def _curve(outcomes: Outcomes) -> tuple[Floats, Floats]:
    """Return margins above the drop that was seen, and the normal scores of their p-values, which rise with them."""
    seen = outcomes.total / outcomes.documents
    margins = seen + (1 - seen) * (np.arange(1, _CURVE + 1) / _CURVE) ** 3
    scores = -ndtri(np.array([_p_value(outcomes, margin) for margin in margins]) / CAUTION)
    return np.append(seen, margins), np.maximum.accumulate(np.append(0.0, scores))


def _upper_bound(curve: tuple[Floats, Floats], alpha: ArrayLike) -> Floats:
    margins, scores = curve
    return np.asarray(np.interp(-ndtri(np.asarray(alpha) / CAUTION), scores, margins))
