"""One task's paired scores, summarised: all that its intervals and tests need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leaderboards.statistics.interval import Interval, quantiles, tail
from leaderboards.statistics.means import design_effect, mean_covariance, mean_interval, ratio_of_means
from leaderboards.statistics.proportions import (
    mcnemar,
    paired_ratio_interval,
    score_bound,
    score_statistic,
)
from leaderboards.statistics.resampling import Outcomes

Floats = NDArray[np.float64]

CORRECTION = 0.5
"""The gate's continuity correction, in samples; see `PairedSample.p_values`."""


@dataclass(frozen=True, slots=True)
class PairedSample:
    """Two models' scores on the same documents of one task.

    `lost` counts the documents on which the base scores higher, `gained` those on which the candidate does, `both`
    those that both get entirely right. `binary`: every score is 0 or 1. `covariance` is that of the two means
    (base, candidate), robust to clusters; `clusters` is their number, or None if every document is its own.
    `design_effect` is that of the drop, `effects` those of the two means. `outcomes` holds the drops of clusters, or of
    documents whose scores are not 0 or 1; None if the counts say it all.
    Means and differences are proportions, not percent. Scores that are not `bounded` may lie outside 0 and 1, their
    drops not outside −1 and 1.
    """

    n: int
    base: float
    candidate: float
    both: int
    lost: int
    gained: int
    binary: bool
    covariance: tuple[float, float, float]
    design_effect: float = 1.0
    effects: tuple[float, float] = (1.0, 1.0)
    clusters: int | None = None
    outcomes: Outcomes | None = None
    bounded: bool = True

    @classmethod
    def from_scores(
        cls,
        base: NDArray[np.float64],
        candidate: NDArray[np.float64],
        clusters: NDArray[np.int64] | None = None,
    ) -> PairedSample | None:
        """Summarise two score arrays of the same shape (documents,), no two more than 1 apart; None if they are empty.

        `clusters` numbers each document's cluster from 0 on.
        """
        n = len(base)
        if n == 0:
            return None
        scores = np.stack([base, candidate], axis=1)
        groups = None if clusters is None else int(clusters.max()) + 1
        if groups == n:
            clusters = groups = None
        covariance = mean_covariance(scores, clusters)
        binary = bool(np.isin(scores, (0.0, 1.0)).all())
        drops = base - candidate
        return cls(
            n=n,
            base=float(base.mean()),
            candidate=float(candidate.mean()),
            both=int(((base == 1) & (candidate == 1)).sum()),
            lost=int((base > candidate).sum()),
            gained=int((base < candidate).sum()),
            binary=binary,
            covariance=(float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])),
            design_effect=design_effect(drops, clusters),
            effects=(design_effect(base, clusters), design_effect(candidate, clusters)),
            clusters=groups,
            outcomes=None if binary and clusters is None else Outcomes.from_scores(drops, clusters),
            bounded=bool((scores >= 0).all() and (scores <= 1).all()),
        )

    @classmethod
    def from_counts(
        cls, n: int, lost: int, gained: int, outcomes: Outcomes | None = None, clusters: int | None = None
    ) -> PairedSample:
        """Return 0/1 scores of which only the changes are known: their tests and bounds, not the two means."""
        return cls(n, lost / n, gained / n, 0, lost, gained, True, (0.0, 0.0, 0.0), 1.0, (1.0, 1.0), clusters, outcomes)

    @classmethod
    def from_outcomes(cls, outcomes: Outcomes, clusters: int | None = None) -> PairedSample:
        """Return scores between 0 and 1 of which only the drops are known."""
        n, drop = outcomes.documents, outcomes.total / outcomes.documents
        return cls(n, drop, 0.0, 0, 0, 0, False, (0.0, 0.0, 0.0), clusters=clusters, outcomes=outcomes)

    def with_more(self, lost: int, gained: int) -> PairedSample:
        """Return the sample with so many documents more, each lost or gained and in no cluster with another."""
        more = lost + gained
        n, drop = self.n + more, self.difference * self.n + lost - gained
        outcomes = self.outcomes and self.outcomes.with_more(lost, gained)
        clusters = None if self.clusters is None else self.clusters + more
        changed = replace(self, n=n, lost=self.lost + lost, gained=self.gained + gained, outcomes=outcomes)
        return replace(changed, base=drop / n, candidate=0.0, clusters=clusters)

    @property
    def difference(self) -> float:
        """The drop, base − candidate."""
        return (self.lost - self.gained) / self.n if self.binary else self.base - self.candidate

    @property
    def standard_error(self) -> float | None:
        """The standard error of the drop, robust to clusters; None for a single document or cluster."""
        variance = self.covariance[0] - 2 * self.covariance[1] + self.covariance[2]
        return None if isnan(variance) else sqrt(max(variance, 0.0))

    @property
    def discordant(self) -> float:
        """The share of documents on which the two scores differ."""
        return (self.lost + self.gained) / self.n

    @property
    def method(self) -> str:
        """The name of the drop's interval."""
        name = "Tango score" if self.outcomes is None else "tilted resampling"
        return name if self.clusters is None else f"{name}, {self.clusters} clusters"

    def bounds(self, alpha: float, *, correction: float = 0.0) -> tuple[float, float] | None:
        """Return the one-sided `alpha` bounds of the drop below and above; None if the spread is unknown.

        0/1 scores of independent documents: Tango's score bounds. Others: the margins that just fail the test of
        `leaderboards.statistics.resampling`. `correction` is in samples, for Tango's bounds.
        """
        found = self.bounds_at(alpha, correction=correction)
        return None if found is None else (float(found[0]), float(found[1]))

    def bounds_at(
        self, alpha: ArrayLike, size: ArrayLike = 1.0, *, correction: float = 0.0
    ) -> tuple[Floats, Floats] | None:
        """Return `bounds` for arrays of levels and of sample sizes relative to this one, for planning."""
        if self.outcomes is None:
            size = np.asarray(size, np.float64)
            counts = self.lost * size, self.gained * size, self.n * size
            return score_bound(*counts, quantiles(alpha, None), correction=correction)
        if (self.clusters or self.n) < 2:
            return None
        lower, upper = self.outcomes.bounds(alpha)
        seen, root = self.difference, np.sqrt(size)
        return seen - (seen - lower) / root, seen + (upper - seen) / root

    def p_values(self, margin: float) -> tuple[float, float] | None:
        """Return the p-values of "the drop is below the margin" and "the drop is above the margin".

        The first is the non-inferiority test, H0: drop ≥ margin; the second tests H0: drop ≤ margin. For 0/1 scores of
        independent documents both are Tango's score test with a continuity correction of half a sample. Without it,
        the second rejects at up to 7.3 % instead of 5 % if n is one or two hundred and few answers changed; with it,
        the exact rate stays below 5.5 % from n = 100 (`tests/leaderboards/gate/test_gate_error_rates.py` sums it up).
        For others, see `leaderboards.statistics.resampling`.
        """
        if self.outcomes is not None:
            return None if (self.clusters or self.n) < 2 else self.outcomes.p_values(margin)
        below = -score_statistic(self.lost, self.gained, self.n, margin, correction=-CORRECTION)
        above = score_statistic(self.lost, self.gained, self.n, margin, correction=CORRECTION)
        return tail(float(below), None), tail(float(above), None)

    def p_no_change(self) -> tuple[float, str] | None:
        """Return the two-sided p-value of "nothing changed" and the test's name.

        McNemar's exact test for 0/1 scores of independent documents; for others twice the smaller of `p_values`.
        """
        if self.outcomes is None:
            return mcnemar(self.lost, self.gained), "McNemar exact"
        p_values = self.p_values(0.0)
        return None if p_values is None else (min(1.0, 2 * min(p_values)), self.method)

    def drop(self, *, level: float = 0.95) -> Interval:
        """Return the drop with its two-sided interval."""
        bounds = self.bounds((1 - level) / 2)
        if bounds is None:
            return Interval(self.difference, None, None, self.n, level, self.method)
        return Interval(self.difference, *bounds, self.n, level, self.method)

    def retention(self, *, level: float = 0.95, origin: float = 0.0) -> Interval:
        """Return candidate / base: of paired proportions by Bonett and Price, of other means by the delta method.

        `origin` is what the scores' zero lies above that of the metric: 0.5 if a score of 0 is a third of one of 1.
        """
        if self.binary and not origin:
            both, lost, gained, n = (
                count / self.design_effect for count in (self.both, self.lost, self.gained, self.n)
            )
            return replace(paired_ratio_interval(both, lost, gained, n, level=level), n=self.n)
        return ratio_of_means(self.base + origin, self.candidate + origin, self.covariance, self.n, level=level)

    def accuracy(self, of: str, *, level: float = 0.95) -> Interval:
        """Return the mean score of the "base" or "candidate": Wilson's interval for 0/1 scores, else Student's."""
        mean, variance = (self.base, self.covariance[0]) if of == "base" else (self.candidate, self.covariance[2])
        effect = self.effects[0 if of == "base" else 1]
        return mean_interval(
            mean,
            variance,
            self.n,
            binary=self.binary,
            clusters=self.clusters,
            effect=effect,
            level=level,
            bounded=self.bounded,
        )
