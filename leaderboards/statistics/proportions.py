"""Intervals of one proportion, and of the ratio of two paired ones."""

from __future__ import annotations

from math import sqrt

from leaderboards.statistics.interval import Interval, normal_quantile, undefined


def wilson_bounds(successes: float, n: float, z: float) -> tuple[float, float]:
    """Return both bounds of Wilson's score interval at the normal quantile `z`; n must not be 0.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n). Source: Wilson, JASA 22 (1927) 209–212.
    """
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    lower = 0.0 if successes <= 0 else (centre - half) / scale  # exactly, whatever rounding does
    upper = 1.0 if successes >= n else (centre + half) / scale
    return lower, upper


def wilson_interval(successes: float, n: int, *, level: float = 0.95, design_effect: float = 1.0) -> Interval:
    """Return Wilson's score interval of a proportion.

    `design_effect` is the factor by which clustering inflates the variance; both counts are divided by it
    (Rao and Scott, Biometrics 48 (1992) 577–585).
    """
    if n == 0:
        return undefined(n, level, "Wilson score")
    lower, upper = wilson_bounds(successes / design_effect, n / design_effect, normal_quantile((1 - level) / 2))
    return Interval(successes / n, lower, upper, n, level, "Wilson score")


def paired_ratio_interval(both: float, lost: float, gained: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the interval of the ratio of two paired proportions, candidate / base.

    With N = both + lost + gained (pairs that neither model got right say nothing of the ratio), b = both + lost and
    c = both + gained: Wilson's intervals of c / N and b / N at z·A / (B + C), where A² = (lost + gained + 2) /
    ((c + 1)(b + 1)), B² = (1 − (c + 1)/(N + 2)) / (c + 1), and C² the same of b; the bounds are
    lower(c) / upper(b) and upper(c) / lower(b).

    Edge cases: base never right, the ratio is undefined; candidate never right, the lower bound is 0.
    Source: Bonett and Price, Statistics in Medicine 25 (2006) 3039–3047, the hybrid Wilson score interval, which
    Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850–2875, recommend.
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
