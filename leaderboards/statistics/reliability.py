"""How far a model's probabilities can be believed: expected calibration error, and the bins of its plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leaderboards.statistics.interval import Interval
from leaderboards.statistics.proportions import wilson_interval

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The documents whose probability is in one tenth: their mean probability, and the share that is right."""

    probability: float
    right: Interval


@dataclass(frozen=True, slots=True)
class Reliability:
    """`error` is the expected calibration error, from 0 to 1; `bins` are those that are not empty, upwards."""

    n: int
    error: float
    bins: tuple[Bin, ...]


def reliability(probabilities: Sequence[float], right: Sequence[bool]) -> Reliability | None:
    """Compare the probability that a model gives its choice with how often the choice is right; None for nothing.

    Σ |right share of the bin − mean probability of the bin| · its documents / all documents, over ten bins of equal
    width (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3). A probability on a
    border belongs to the bin below it. What is not a number is left out.
    """
    values, hits = np.asarray(probabilities, float), np.asarray(right, bool)
    known = np.isfinite(values)
    values, hits = values[known], hits[known]
    if not len(values):
        return None
    numbers = np.clip(np.ceil(values * BINS) - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for number in np.unique(numbers):
        inside = numbers == number
        count, found = int(inside.sum()), int(hits[inside].sum())
        mean = float(values[inside].mean())
        bins.append(Bin(mean, wilson_interval(found, count)))
        error += abs(found / count - mean) * count / len(values)
    return Reliability(len(values), error, tuple(bins))
