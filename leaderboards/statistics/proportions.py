"""Proportions: one, two paired ones, and how far two distributions of answers lie apart."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from leaderboards.statistics.interval import Interval, normal_quantile, quantile, undefined

Floats = NDArray[np.float64]

_HALVINGS = 42
"""Bisection steps: bounds are exact to 2 / 2^42, below 1e-12."""

_DIVERGENCE = "Jensen-Shannon (bits), delta method"


def wilson_bounds(successes: float, n: float, z: float) -> tuple[float, float]:
    """Return both bounds of Wilson's score interval at the normal quantile `z`; n must not be 0.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n). Source: Wilson, JASA 22 (1927) 209–212.
    Ours: statsmodels' `proportion_confint` is equal, but slow to import and takes a level instead of `z`.
    """
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    lower = 0.0 if successes <= 0 else (centre - half) / scale  # exactly, whatever rounding does
    upper = 1.0 if successes >= n else (centre + half) / scale
    return lower, upper


def wilson_interval(
    successes: float, n: int, *, level: float = 0.95, design_effect: float = 1.0, freedom: int | None = None
) -> Interval:
    """Return Wilson's score interval of a proportion.

    `design_effect` is the factor by which clustering inflates the variance; both counts are divided by it
    (Rao and Scott, Biometrics 48 (1992) 577–585). With `freedom` the quantile is Student's.
    """
    if n == 0:
        return undefined(n, level, "Wilson score")
    z = quantile((1 - level) / 2, freedom)
    lower, upper = wilson_bounds(successes / design_effect, n / design_effect, z)
    return Interval(successes / n, lower, upper, n, level, "Wilson score")


def paired_ratio_interval(both: float, lost: float, gained: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the interval of the ratio of two paired proportions, candidate / base.

    With N = both + lost + gained (pairs that neither model got right say nothing about the ratio), b = both + lost and
    c = both + gained: Wilson's intervals of c / N and b / N at z·A / (B + C), where A² = (lost + gained + 2) /
    ((c + 1)(b + 1)), B² = (1 − (c + 1)/(N + 2)) / (c + 1), and C² the same of b; the bounds are
    lower(c) / upper(b) and upper(c) / lower(b).

    Edge cases: base never right, the ratio is undefined; candidate never right, the lower bound is 0.
    Source: Bonett and Price, Statistics in Medicine 25 (2006) 3039–3047, the hybrid Wilson score interval, which
    Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850–2875, recommend. In neither scipy nor
    statsmodels.
    """
    method = "Bonett-Price hybrid Wilson score"
    base, candidate, informative = both + lost, both + gained, both + lost + gained
    if n == 0 or base == 0:
        return undefined(int(n), level, method)
    a = sqrt((lost + gained + 2) / ((candidate + 1) * (base + 1)))
    b = sqrt((1 - (candidate + 1) / (informative + 2)) / (candidate + 1))
    c = sqrt((1 - (base + 1) / (informative + 2)) / (base + 1))
    z = normal_quantile((1 - level) / 2) * a / (b + c)
    candidate_low, candidate_high = wilson_bounds(candidate, informative, z)
    base_low, base_high = wilson_bounds(base, informative, z)
    upper = candidate_high / base_low if base_low > 0 else None
    return Interval(candidate / base, candidate_low / base_high, upper, int(n), level, method)


def score_statistic(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, difference: ArrayLike, *, correction: float = 0.0
) -> Floats:
    """Return Tango's score statistic for H0: P(lost) − P(gained) = difference; arrays broadcast.

    Z = (lost − gained − n·δ − correction) / √(n (2q + δ(1−δ))), where q, the constrained maximum-likelihood estimate
    of P(gained), is the larger root of 2n·q² + ((2n − lost + gained)·δ − lost − gained)·q − gained·δ(1−δ) = 0.
    Counts need not be whole: a clustered sample is passed as its effective counts.

    Edge cases: a variance of 0 gives ±inf, or 0 where the numerator is 0 too.
    Source: Tango, Statistics in Medicine 17 (1998) 891–908. In neither scipy nor statsmodels.
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
    mirrored Z = −z; with z = 1.96 the interval's level is 95 %, and each bound's, one-sided, 97.5 %. In neither scipy
    nor statsmodels.
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
    Methodology 13 (2013) 91. By scipy's binomial distribution; its `binomtest` and statsmodels' `mcnemar` have no
    mid-p.
    """
    smaller, discordant = min(lost, gained), lost + gained
    if discordant == 0:
        return 1.0
    tail = float(bdtr(smaller, discordant, 0.5))
    if not mid_p:
        return min(1.0, 2 * tail)
    point = tail - (float(bdtr(smaller - 1, discordant, 0.5)) if smaller else 0.0)
    return 1 - point / 2 if lost == gained else 2 * tail - point


def jensen_shannon(pairs: NDArray[np.int64], counts: NDArray[np.int64], *, level: float = 0.95) -> Interval:
    """Return the Jensen–Shannon divergence between the two margins of a table of paired answers, in bits.

    `pairs` has shape (cells, 2): the number of the base's and of the candidate's answer; `counts` (cells,) says how
    often they occur together. With p, q the margins and m their mean: ½Σ p·log₂(p/m) + ½Σ q·log₂(q/m), 0 for equal
    distributions, 1 for disjoint ones. The interval is first-order: each sample's influence is
    ½·log₂(p/m) of its one answer + ½·log₂(q/m) of the other, cut to [0, 1].

    Edge cases: no samples, undefined. Near 0 the estimate is biased upwards, by about (k − 1)/(4·n·ln 2) bits for k
    answers if the two models answer independently, and the first-order interval is too narrow there.
    Source: Lin, IEEE Transactions on Information Theory 37 (1991) 145–151. Ours: scipy's `jensenshannon` gives the
    estimate without each sample's influence.
    """
    n = int(counts.sum())
    if n == 0:
        return undefined(0, level, _DIVERGENCE)
    size = int(pairs.max()) + 1
    p, q = (np.bincount(pairs[:, side], counts, size) / n for side in (0, 1))
    mean = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(p > 0, np.log2(p / mean), 0.0)
        log_q = np.where(q > 0, np.log2(q / mean), 0.0)
    estimate = float(np.clip((p @ log_p + q @ log_q) / 2, 0.0, 1.0))
    influence = (log_p[pairs[:, 0]] + log_q[pairs[:, 1]]) / 2
    variance = max(float(counts @ (influence - estimate) ** 2) / n**2, 0.0)
    half = normal_quantile((1 - level) / 2) * variance**0.5
    return Interval(estimate, max(0.0, estimate - half), min(1.0, estimate + half), n, level, _DIVERGENCE)
