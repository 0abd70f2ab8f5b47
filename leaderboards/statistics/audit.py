"""The drop of one task from an audit of its pairs, and how large a judge's error would turn a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leaderboards.statistics.interval import quantiles, tail
from leaderboards.statistics.paired import CORRECTION, PairedSample
from leaderboards.statistics.proportions import score_bound, score_statistic

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Pairs of one kind: how many there are, how many are labelled, and how many of these are truly lost and gained.

    The fields may be arrays of one shape, for many audits at once.
    """

    population: ArrayLike
    labelled: ArrayLike
    lost: ArrayLike
    gained: ArrayLike


def effective_counts(n: ArrayLike, strata: Sequence[Stratum]) -> tuple[Floats, Floats, Floats]:
    """Return (lost, gained, n) of a fully labelled sample that knows as much as this audit of `n` documents.

    Pairs in no stratum have equal texts: whatever is true of one answer is true of the other, their difference is 0.
    With W_h = N_h / n and p_h the share lost (or gained) among the m_h labelled of stratum h, P = Σ W_h p_h, the
    stratified estimator, here of the whole difference; where all of a stratum is labelled it adds no variance. The
    variance of the drop d is that of n documents, (P_lost + P_gained − d²) / n, and that of labelling a part,
    Σ W_h² (1 − m_h / N_h) s_h² / m_h, with the finite population correction. Counts and n are divided by the ratio of
    both variances' sum to the first, the audit's design effect, as with clusters (Rao and Scott, Biometrics 48 (1992)
    577–585).

    A stratum of which only a part is labelled has a rate of (changed + 1) / (m + 1) in both variances: no change among
    300 pairs does not show that there is none. The estimates keep the plain rates.

    Edge case: nobody changed and all is labelled, a design effect of 1.
    Source: Särndal, Swensson and Wretman, Model Assisted Survey Sampling (Springer, 1992), section 3.7, stratified
    sampling, and section 9.8 on two phases: the documents are the first sample, the labelled pairs the second. In
    neither scipy nor statsmodels.
    """
    n = np.asarray(n, np.float64)
    lost, gained, changed, labelling = (np.zeros_like(n) for _ in range(4))
    for stratum in strata:
        size, m, down, up = (
            np.asarray(value, np.float64)
            for value in (stratum.population, stratum.labelled, stratum.lost, stratum.gained)
        )
        weight, known, partial = size / n, np.maximum(m, 1), m < size
        rate = np.where(partial, (down + up + 1) / (m + 1), (down + up) / known)
        mean = (down - up) / known
        spread = np.maximum(rate - mean**2, 0) * known / np.maximum(m - 1, 1)
        lost, gained = lost + weight * down / known, gained + weight * up / known
        changed = changed + weight * rate
        labelling = labelling + weight**2 * np.where(partial, 1 - m / np.maximum(size, 1), 0) * spread / known
    documents = np.maximum(changed - (lost - gained) ** 2, 0) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(documents > 0, 1 + labelling / documents, 1.0)
    return lost * n / effect, gained * n / effect, n / effect


@dataclass(frozen=True, slots=True)
class AuditedSample(PairedSample):
    """A task's pairs of 0/1 scores whose drop rests on labels of an audit instead of the judge's verdicts.

    `strata` are those of the audit, `auditor` who labelled. All else stays the judge's: means, flips, clusters.
    """

    strata: tuple[Stratum, ...] = ()
    auditor: str = ""

    @classmethod
    def of(cls, sample: PairedSample, strata: tuple[Stratum, ...], auditor: str) -> AuditedSample:
        """Return a sample with an audit's drop.

        Labels do not say how a cluster's documents go together: its design effect is the largest there can be, all of a
        cluster changing at once.
        """
        known = {field.name: getattr(sample, field.name) for field in fields(PairedSample)}
        if sample.clusters is not None and sample.outcomes is not None:
            known["design_effect"] = sample.outcomes.largest_effect
        return cls(**known, strata=strata, auditor=auditor)

    def with_more(self, lost: int, gained: int) -> AuditedSample:
        """Return the sample with so many documents more that are known to be lost or gained."""
        more = lost + gained
        known = (*self.strata, Stratum(more, more, lost, gained))
        clusters = None if self.clusters is None else self.clusters + more
        return replace(self, n=self.n + more, clusters=clusters, strata=known)

    @property
    def difference(self) -> float:
        """The drop by the labels."""
        lost, gained, n = effective_counts(self.n, self.strata)
        return float((lost - gained) / n)

    @property
    def method(self) -> str:
        """The name of the drop's interval."""
        name = f"audited by {self.auditor}, stratified Tango score"
        return name if self.clusters is None else f"{name}, {self.clusters} clusters"

    @property
    def labelled(self) -> int:
        """How many pairs were labelled."""
        return sum(int(np.asarray(stratum.labelled)) for stratum in self.strata)

    @property
    def _freedom(self) -> int | None:
        return None if self.clusters is None else self.clusters - 1

    def _counts(self, size: ArrayLike) -> tuple[Floats, Floats, Floats]:
        lost, gained, n = effective_counts(self.n, self.strata)
        factor = np.asarray(size, np.float64) / self.design_effect
        return lost * factor, gained * factor, n * factor

    def bounds_at(
        self, alpha: ArrayLike, size: ArrayLike = 1.0, *, correction: float = 0.0
    ) -> tuple[Floats, Floats] | None:
        """Return the bounds as `PairedSample.bounds_at` does, on the audit's effective counts."""
        if self._freedom == 0:
            return None
        return score_bound(*self._counts(size), quantiles(alpha, self._freedom), correction=correction)

    def p_values(self, margin: float) -> tuple[float, float] | None:
        """Return the p-values as `PairedSample.p_values` does, on the audit's effective counts."""
        if self._freedom == 0:
            return None
        counts = self._counts(1.0)
        below = -score_statistic(*counts, margin, correction=-CORRECTION)
        above = score_statistic(*counts, margin, correction=CORRECTION)
        return tail(float(below), self._freedom), tail(float(above), self._freedom)


def turning_error(distance: float, measured: float) -> float | None:
    """Return the smallest excess error rate of a judge, on the candidate only, that moves the drop by `distance`.

    `measured` is the share of the candidate's answers that the judge puts into the wrong bin's other side: for answers
    that are right and called wrong at an excess rate e, the accuracy as measured, a; then the true one is a / (1 − e),
    and the drop shrinks by a·e / (1 − e): e = distance / (a + distance). For answers that are wrong and called right,
    the same with 1 − a. All are proportions.

    Edge cases: a bound beyond the margin already, or nothing that could be misjudged, None.
    """
    if distance < 0 or distance + measured <= 0:
        return None
    return distance / (measured + distance)
