"""The difference of two paired proportions: score statistic, intervals, exact test. Works on whole arrays."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leaderboards.statistics.interval import Interval, normal_quantile, undefined
from leaderboards.statistics.proportions import wilson_bounds

Floats = NDArray[np.float64]

_HALVINGS = 42
"""Bisection steps: bounds are exact to 2 / 2^42, below 1e-12."""


def score_statistic(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, difference: ArrayLike, *, correction: float = 0.0
) -> Floats:
    """Return Tango's score statistic for H0: P(lost) − P(gained) = difference; arrays broadcast.

    Z = (lost − gained − n·δ − correction) / √(n (2q + δ(1−δ))), where q, the constrained maximum-likelihood estimate
    of P(gained), is the larger root of 2n·q² + ((2n − lost + gained)·δ − lost − gained)·q − gained·δ(1−δ) = 0.
    Counts need not be whole: a clustered sample is passed as its effective counts.

    Edge cases: a variance of 0 gives ±inf, or 0 where the numerator is 0 too.
    Source: Tango, Statistics in Medicine 17 (1998) 891–908.
    """
    lost, gained, n, delta = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (lost, gained, n, difference)))
    negative = delta < 0  # the formula holds for δ ≥ 0; exchanging the models mirrors it
    b, c, d = np.where(negative, gained, lost), np.where(negative, lost, gained), np.abs(delta)
    linear = (2 * n - b + c) * d - b - c
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0.0))
    # Of the two algebraically equal forms of the larger root, the one that does not subtract like numbers.
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.where(linear > 0, 2 * c * d * (1 - d) / (root + linear), (root - linear) / (4 * n))
        numerator = lost - gained - n * delta - correction
        z = numerator / np.sqrt(n * (2 * np.maximum(q, 0.0) + d * (1 - d)))
    return np.where(numerator == 0, 0.0, z)


def score_bound(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, z: ArrayLike, *, correction: float = 0.0
) -> tuple[Floats, Floats]:
    """Return the lower and upper bound of P(lost) − P(gained) at the quantile `z`, by inverting `score_statistic`.

    The lower bound is the difference at which Z = z, the upper one the difference at which the mirrored Z = −z.
    """
    lower = _lower_bound(lost, gained, n, z, correction)
    return lower, -_lower_bound(gained, lost, n, z, correction)


def _lower_bound(lost: ArrayLike, gained: ArrayLike, n: ArrayLike, z: ArrayLike, correction: float) -> Floats:
    lost, gained, n, z = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (lost, gained, n, z)))
    low, high = np.full(lost.shape, -1.0), np.asarray((lost - gained) / n)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = score_statistic(lost, gained, n, middle, correction=correction) > z
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


def tango_interval(lost: float, gained: float, n: int, *, level: float = 0.95) -> Interval:
    """Return Tango's score interval of the paired difference P(lost) − P(gained).

    `lost` counts the pairs that only the base model got right, `gained` those that only the candidate did.
    Source: Tango, Statistics in Medicine 17 (1998) 891–908.
    """
    if n == 0:
        return undefined(n, level, "Tango score")
    lower, upper = score_bound(lost, gained, n, normal_quantile((1 - level) / 2))
    return Interval((lost - gained) / n, float(lower), float(upper), n, level, "Tango score")


def newcombe_interval(both: float, lost: float, gained: float, neither: float, *, level: float = 0.95) -> Interval:
    """Return Newcombe's interval of the paired difference: method 10, square-and-add with corrected correlation.

    With l, u the Wilson bounds of base p₁ = (both + lost)/n and candidate p₂ = (both + gained)/n:
    lower = d − √((p₁−l₁)² − 2φ(p₁−l₁)(u₂−p₂) + (u₂−p₂)²), upper likewise with the other bounds. φ is the correlation
    of the table, its numerator ad − bc reduced by n/2 where it is positive, but not below 0; 0 where a margin is empty.
    Source: Newcombe, Statistics in Medicine 17 (1998) 2635–2650.
    """
    method = "Newcombe 10"
    n = both + lost + gained + neither
    if n == 0:
        return undefined(0, level, method)
    z = normal_quantile((1 - level) / 2)
    p1, p2 = (both + lost) / n, (both + gained) / n
    l1, u1 = wilson_bounds(both + lost, n, z)
    l2, u2 = wilson_bounds(both + gained, n, z)
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    covariance = both * neither - lost * gained
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    phi = covariance / sqrt(margins) if margins > 0 else 0.0
    below = sqrt(max((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2, 0.0))
    above = sqrt(max((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2, 0.0))
    return Interval(p1 - p2, p1 - p2 - below, p1 - p2 + above, int(n), level, method)


def mcnemar(lost: int, gained: int, *, mid_p: bool = False) -> float:
    """Return the two-sided p-value of McNemar's exact test that as many pairs were lost as gained.

    Given lost + gained, lost ~ Binomial(lost + gained, ½); p = min(1, 2·P(X ≤ min(lost, gained))). `mid_p` counts the
    observed table half, p = 2·P(X ≤ min) − P(X = min), or 1 − ½·P(X = lost) where both are equal: less conservative.

    Edge case: no discordant pair, p = 1.
    Source: McNemar, Psychometrika 12 (1947) 153–157; mid-p: Fagerland, Lydersen and Laake, BMC Medical Research
    Methodology 13 (2013) 91.
    """
    from scipy.special import bdtr

    smaller, discordant = min(lost, gained), lost + gained
    if discordant == 0:
        return 1.0
    tail = float(bdtr(smaller, discordant, 0.5))
    if not mid_p:
        return min(1.0, 2 * tail)
    point = tail - (float(bdtr(smaller - 1, discordant, 0.5)) if smaller else 0.0)
    return 1 - point / 2 if lost == gained else 2 * tail - point
