"""The difference of two paired proportions: Tango's score statistic and interval, McNemar's exact test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    This is Tango's score interval. The lower bound is the difference at which Z = z, the upper one that at which the
    mirrored Z = −z; with z = 1.96 the interval's level is 95 %, and each bound's, one-sided, 97.5 %.
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
