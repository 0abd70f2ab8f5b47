"""Testing while the documents come in: the level that each look may use, and what a p-value at a look is worth.

Whoever tests after every two hundred documents and stops at the first p-value below α errs far more often than α says.
So the looks share α. By the fraction t of all documents, this much of it is spent (Lan and DeMets, Biometrika 70 (1983)
659–663; their approximation of O'Brien and Fleming, which spends almost nothing early):

    α*(t) = 2 − 2Φ(z / √t),   z = Φ⁻¹(1 − α/2)

Look k has the boundary bₖ: under the null hypothesis the standardised statistics Z₁, …, Zₖ are those of a Brownian
motion at t₁, …, tₖ, and P(Z₁ < b₁, …, Zₖ₋₁ < bₖ₋₁, Zₖ ≥ bₖ) = α*(tₖ) − α*(tₖ₋₁). That is integrated look by look
(Armitage, McPherson and Rowe, JRSS A 132 (1969) 235–244; Jennison and Turnbull, "Group Sequential Methods with
Applications to Clinical Trials", 2000, chapter 19). Ending early for any other reason only makes errors rarer.

Ours, by scipy's normal distribution: neither scipy nor statsmodels has group sequential boundaries. The tests hold them
against those of gsDesign, and of Jennison and Turnbull's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

_NODES = 160
"""Of the Gauss-Legendre rule over each look's statistics: boundaries are exact to 1e-7."""

_LOWEST, _HIGHEST = 8.0, 40.0
"""Standard deviations below zero at which the integrals begin, and above it at which the search for a boundary does."""

_HALVINGS = 52

_SMALLEST, _LARGEST, _LEVELS = 1e-12, 0.3, 64
"""Levels of which a p-value is looked up. Up to 0.318 a larger level has the lower boundary at each look (Maurer and
Bretz, Statistics in Biopharmaceutical Research 5 (2013) 311–320)."""


def spent(alpha: ArrayLike, fraction: float) -> Floats:
    """Return the part of the one-sided level `alpha` that is spent by this fraction of all documents."""
    return np.asarray(2 * ndtr(ndtri(np.asarray(alpha) / 2) / sqrt(fraction)), np.float64)


def boundaries(alpha: ArrayLike, fractions: Sequence[float]) -> Floats:
    """Return the boundary of the standardised statistic at each look, (…, looks), of a one-sided test at `alpha`, (…).

    Args:
        alpha: spent in all by the last look, at the fraction 1.
        fractions: the part of all documents that each look has, rising to 1.
    """
    levels = np.asarray(alpha, np.float64)
    walk, before, found = _Walk.begin(levels.size), np.zeros(levels.size), []
    for fraction in fractions:
        until = spent(levels.reshape(-1), fraction)
        places = walk.reached_with(until - before, fraction)
        found.append(places / sqrt(fraction))
        walk, before = walk.below(places, fraction), until
    return np.stack(found, axis=-1).reshape(*levels.shape, len(fractions))


def crossing(bounds: Sequence[float], fractions: Sequence[float]) -> tuple[float, ...]:
    """Return the chance under the null hypothesis that each look is the first to reach its boundary."""
    walk, found = _Walk.begin(1), []
    for bound, fraction in zip(bounds, fractions, strict=True):
        place = np.array([bound * sqrt(fraction)])
        found.append(float(walk.above(place, fraction)[0]))
        walk = walk.below(place, fraction)
    return tuple(found)


def level_at(alpha: float, look: int, looks: int) -> float:
    """Return the one-sided level at which a look of `looks` equally spaced ones tests, so that all together have α.

    Intervals of this level at each look hold at all of them together with a chance of 1 − α on either side, whatever
    made one stop: repeated confidence intervals (Jennison and Turnbull, JRSS B 51 (1989) 305–361).
    """
    return float(ndtr(-_equally_spaced(alpha, looks)[look - 1]))


def repeated_p_value(p_value: float, look: int, looks: int) -> float:
    """Return the smallest α at which a one-sided p-value at this look is at or beyond its boundary.

    It may be read as any p-value, although one looked at every look, and corrected for several hypotheses by Holm's or
    another procedure of Bonferroni tests (Jennison and Turnbull 2000, section 9.4; Maurer and Bretz 2013). From
    `_SMALLEST` to `_LARGEST`; those that are larger are 1.
    """
    bounds, levels = _table(looks)
    score, scores = -float(ndtri(p_value)), bounds[:, look - 1]
    return 1.0 if score < scores[0] else float(ndtr(-np.interp(score, scores, levels)))


def either_side(p_value: float, look: int, looks: int) -> float:
    """Return the repeated p-value of a two-sided test: each side has half of α."""
    return min(1.0, 2 * repeated_p_value(p_value / 2, look, looks))


@cache
def _equally_spaced(alpha: float, looks: int) -> Floats:
    return boundaries(alpha, _fractions(looks))


@cache
def _table(looks: int) -> tuple[Floats, Floats]:
    """Return boundaries, (levels, looks), rising, and the normal scores of the levels that they belong to."""
    levels = np.linspace(-ndtri(_LARGEST), -ndtri(_SMALLEST), _LEVELS)
    return boundaries(ndtr(-levels), _fractions(looks)), levels


def _fractions(looks: int) -> list[float]:
    return [(number + 1) / looks for number in range(looks)]


class _Walk:
    """Brownian motions that have stayed below every boundary so far: the densities of where they are, on grids.

    `masses` are the densities times the weights of the integration rule; both have the shape (walks, nodes).
    """

    def __init__(self, time: float, places: Floats, masses: Floats) -> None:
        self._time, self._places, self._masses = time, places, masses

    @classmethod
    def begin(cls, walks: int) -> _Walk:
        """Return them before the first look, when all are at 0."""
        return cls(0.0, np.zeros((walks, 1)), np.ones((walks, 1)))

    def above(self, place: Floats, time: float) -> Floats:
        """Return the chance of each to be at or above a place, (walks,), at a later time."""
        steps = (self._places - place[:, None]) / sqrt(time - self._time)
        return np.asarray((self._masses * ndtr(steps)).sum(-1))

    def reached_with(self, chance: Floats, time: float) -> Floats:
        """Return the place that each reaches at a later time with a chance, (walks,)."""
        low = np.full(chance.shape, -_LOWEST * sqrt(time))
        high = np.full(chance.shape, _HIGHEST * sqrt(time))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            over = self.above(middle, time) > chance
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        return low

    def below(self, place: Floats, time: float) -> _Walk:
        """Return them at a later time, of which only those below a place, (walks,), go on."""
        lowest = -_LOWEST * sqrt(time)
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        half = (place[:, None] - lowest) / 2
        places = lowest + half * (nodes + 1)
        spread = sqrt(time - self._time)
        steps = (places[:, :, None] - self._places[:, None, :]) / spread
        densities = np.einsum("wij,wj->wi", np.exp(-0.5 * steps**2), self._masses) / (spread * sqrt(2 * np.pi))
        return _Walk(time, places, densities * weights * half)
