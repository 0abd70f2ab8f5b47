"""Intervals of means and of their ratio."""

from __future__ import annotations

from math import exp, isnan, sqrt

from leaderboards.statistics.clusters import design_effect
from leaderboards.statistics.interval import Interval, normal_quantile, quantile, undefined
from leaderboards.statistics.multiple import mean_bounds
from leaderboards.statistics.proportions import wilson_interval


def mean_interval(
    mean: float, variance: float, n: int, *, binary: bool, clusters: int | None, level: float = 0.95
) -> Interval:
    """Return the interval of one model's mean score; `variance` is that of the mean, robust to clusters.

    0/1 scores: Wilson's, on effective counts; others: Student's t with (clusters or documents) − 1 degrees of freedom.
    """
    if binary:
        deff = design_effect(variance, mean * (1 - mean) / n) if clusters else 1.0
        return wilson_interval(mean * n, n, level=level, design_effect=deff)
    if isnan(variance):
        return Interval(mean, None, None, n, level, "Student's t")
    half = quantile((1 - level) / 2, (clusters or n) - 1) * sqrt(max(variance, 0.0))
    return Interval(mean, mean - half, mean + half, n, level, "Student's t")


def mean_of_intervals(parts: list[Interval], *, level: float = 0.95) -> Interval:
    """Return the unweighted mean of independent estimates, by MOVER; without bounds where a part has none."""
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
    lower, upper = mean_bounds(known) if len(known) == len(parts) else (None, None)
    return Interval(sum(estimates) / len(parts), lower, upper, n, level, method)


def ratio_of_means(
    base: float, candidate: float, covariance: tuple[float, float, float], n: int, *, level: float = 0.95
) -> Interval:
    """Return candidate / base with the interval of the delta method on the logarithm.

    Var log(c/b) = Vb/b² + Vc/c² − 2·Cov/(b·c). Undefined where the base's mean is 0; without bounds where the
    candidate's is.
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
