"""Means: their covariance and intervals when samples come in clusters, such as several questions about one image."""

from __future__ import annotations

from math import exp, isnan, sqrt

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics.interval import Interval, normal_quantile, quantile, undefined
from leaderboards.statistics.proportions import wilson_interval

Floats = NDArray[np.float64]


def mean_covariance(values: Floats, clusters: NDArray[np.int64] | None = None) -> Floats:
    """Return the covariance matrix of column means, robust to dependence within clusters.

    `values` has shape (samples, columns), `clusters` (samples,) with each sample's cluster as a number from 0 on.
    V = G/(G−1) · Σ_g r_g r_gᵀ / n², where r_g sums the residuals x_i − x̄ of cluster g; with no clusters every sample
    is its own, and V is the sample covariance / n.

    Edge case: fewer than two clusters say nothing about the variance, NaN.
    Source: Liang and Zeger, Biometrika 73 (1986) 13–22; for evaluations, Miller, arXiv 2411.00640, equation 4. The
    factor G/(G−1) is that of statsmodels' `cov_type="cluster"` on a constant, which has it for one column at a time.
    """
    n, columns = values.shape
    residuals = values - values.mean(axis=0) if n else values
    if clusters is None:
        sums, groups = residuals, n
    else:
        groups = int(clusters.max()) + 1 if n else 0
        sums = np.stack([np.bincount(clusters, residuals[:, i], groups) for i in range(columns)], axis=1)
    if groups < 2:
        return np.full((columns, columns), np.nan)
    return np.asarray(sums.T @ sums / n**2 * groups / (groups - 1), dtype=np.float64)


def design_effect(values: Floats, clusters: NDArray[np.int64] | None) -> float:
    """Return how many times clustering inflates the variance of a mean; never below 1, and 1 without clusters.

    (Σ r_g² · G/(G−1) + m²/2) / (Σ r_i² · n/(n−1) + m/2), with r_i = x_i − x̄, r_g their sum in cluster g, and
    m = Σ m_g² / Σ m_g. n / design effect is the effective sample size (Kish, Survey Sampling, 1965, section 8.2). The
    second terms are half a cluster whose documents all change together: where few values differ from the rest, the
    clusters that were seen say little about how documents go together, and the effective size tends to the number of
    clusters. In neither scipy nor statsmodels.
    """
    if clusters is None or len(values) < 2:
        return 1.0
    residuals = values - values.mean()
    sizes = np.bincount(clusters)
    if len(sizes) < 2:
        return float(len(values))
    size = float((sizes**2).sum() / sizes.sum())
    together = float((np.bincount(clusters, residuals) ** 2).sum()) * len(sizes) / (len(sizes) - 1)
    alone = float((residuals**2).sum()) * len(values) / (len(values) - 1)
    return max(1.0, (together + size**2 / 2) / (alone + size / 2))


def mean_interval(
    mean: float,
    variance: float,
    n: int,
    *,
    binary: bool,
    clusters: int | None,
    effect: float = 1.0,
    level: float = 0.95,
    bounded: bool = True,
) -> Interval:
    """Return the interval of one model's mean score, from 0 to 1 where it is `bounded`.

    0/1 scores, and bounded ones in clusters, whose variance is at most that of 0/1 scores: Wilson's interval on n /
    `effect` documents, with Student's quantile for clusters − 1 degrees of freedom. Others: scipy's Student's t with
    `variance`, that of the mean.
    """
    if binary or (clusters and bounded):
        freedom = None if clusters is None else max(clusters - 1, 1)
        return wilson_interval(mean * n, n, level=level, design_effect=effect, freedom=freedom)
    if isnan(variance):
        return Interval(mean, None, None, n, level, "Student's t")
    half = quantile((1 - level) / 2, (clusters or n) - 1) * sqrt(max(variance, 0.0))
    return Interval(mean, mean - half, mean + half, n, level, "Student's t")


def ratio_of_means(
    base: float, candidate: float, covariance: tuple[float, float, float], n: int, *, level: float = 0.95
) -> Interval:
    """Return candidate / base with the interval of the delta method on the logarithm.

    Var log(c/b) = Vb/b² + Vc/c² − 2·Cov/(b·c). Undefined if the base's mean is 0; without bounds if the
    candidate's is. In neither scipy nor statsmodels.
    """
    method = "delta method on the log ratio"
    if base <= 0:
        return undefined(n, level, method)
    ratio = candidate / base
    if candidate <= 0 or isnan(covariance[0]):
        return Interval(ratio, None, None, n, level, method)
    variance = covariance[0] / base**2 - 2 * covariance[1] / (base * candidate) + covariance[2] / candidate**2
    half = normal_quantile((1 - level) / 2) * sqrt(max(variance, 0.0))
    return Interval(ratio, ratio * exp(-half), ratio * exp(half), n, level, method)
