"""How far two models' answer distributions lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics.interval import Interval, normal_quantile, undefined

METHOD = "Jensen-Shannon (bits), delta method"


def jensen_shannon(pairs: NDArray[np.int64], counts: NDArray[np.int64], *, level: float = 0.95) -> Interval:
    """Return the Jensen–Shannon divergence between the two margins of a table of paired answers, in bits.

    `pairs` has shape (cells, 2): the number of the base's and of the candidate's answer; `counts` (cells,) says how
    often they occur together. With p, q the margins and m their mean: ½Σ p·log₂(p/m) + ½Σ q·log₂(q/m), 0 for equal
    distributions, 1 for disjoint ones. The interval is first-order: each sample's influence is
    ½·log₂(p/m) of its one answer + ½·log₂(q/m) of the other, cut to [0, 1].

    Edge cases: no samples, undefined. Near 0 the estimate is biased upwards, by about (k − 1)/(4·n·ln 2) bits for k
    answers where the two models answer independently, and the first-order interval is too narrow there.
    Source: Lin, IEEE Transactions on Information Theory 37 (1991) 145–151.
    """
    n = int(counts.sum())
    if n == 0:
        return undefined(0, level, METHOD)
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
    return Interval(estimate, max(0.0, estimate - half), min(1.0, estimate + half), n, level, METHOD)
