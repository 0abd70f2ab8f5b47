"""Krippendorff's alpha for nominal data: how far any number of judges agree beyond chance, with missing values.

Of the answers that at least two judges scored, let n_uc be how many judges put answer u into category c, m_u their
number, n_c the sum of n_uc over answers, and n the sum of all. Then

    D_o = 1/n · Σ_u Σ_c n_uc (m_u − n_uc) / (m_u − 1)        the disagreement that was observed
    D_e = Σ_c n_c (n − n_c) / (n (n − 1))                    the disagreement that chance would give
    α   = 1 − D_o / D_e

Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C, for nominal data, any number of
observers and missing data. statsmodels has Fleiss' kappa, which takes no missing values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSING = -1
"""Stands for an answer that a judge did not score; so does any negative code."""

CONFIDENCE = 0.95
RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's α with its interval.

    `answers` counts those that at least two judges scored. `alpha` is None where it is undefined: there are none, or
    all judges always say one and the same category, so that chance would always agree and α is 0/0. `interval` is the
    95 % percentile bootstrap interval over answers; None with fewer than two answers, or where α is None. Judges that
    always agree get an interval of 1 to 1, however few the answers: no resample holds a disagreement that none shows.
    """

    answers: int
    alpha: float | None
    interval: tuple[float, float] | None


def krippendorff(codes: NDArray[np.integer], generator: np.random.Generator, resamples: int = RESAMPLES) -> Alpha:
    """Return α of codes of the shape (answers, judges); negative codes are missing.

    The interval draws answers with replacement, with all that the judges said of each. Answers with the same counts
    are alike to α, so that a draw is one of how many of each kind there are: it takes no longer with more answers.
    Draws in which α is undefined are left out.
    """
    counts = _counts(codes)
    kinds, number = np.unique(counts[counts.sum(axis=1) >= 2], axis=0, return_counts=True)
    answers = int(number.sum())
    if not answers:
        return Alpha(0, None, None)
    alpha = float(_alpha(kinds, number[np.newaxis])[0])
    if np.isnan(alpha):
        return Alpha(answers, None, None)
    if answers < 2:
        return Alpha(answers, alpha, None)
    drawn = _alpha(kinds, generator.multinomial(answers, number / answers, size=resamples))
    low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Alpha(answers, alpha, (float(low), float(high)))


def _counts(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many judges put each answer into each category, shape (answers, categories)."""
    scored = codes >= 0
    places = np.unique(codes[scored], return_inverse=True)
    counts = np.zeros((len(codes), len(places[0])), dtype=np.int64)
    np.add.at(counts, (np.nonzero(scored)[0], places[1].ravel()), 1)
    return counts


def _alpha(kinds: NDArray[np.int64], numbers: NDArray[np.integer]) -> Floats:
    """α of each draw, shape (draws,); NaN where it is undefined.

    `kinds` has each kind's counts, shape (kinds, categories), `numbers` how often draws hold it, shape (draws, kinds).
    """
    judges = kinds.sum(axis=1, keepdims=True)
    disagreement = (kinds * (judges - kinds)).sum(axis=1) / (judges[:, 0] - 1)
    categories = numbers @ kinds
    total = categories.sum(axis=1)
    observed = (numbers @ disagreement) * (total - 1)
    expected = (categories * (total[:, np.newaxis] - categories)).sum(axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha: Floats = 1 - np.where(expected > 0, observed / expected, np.nan)
    return alpha
