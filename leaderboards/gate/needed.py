"""How many more documents would decide a unit, and how small a loss it can show: planned with the gate's own bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf, isfinite

import numpy as np
from numpy.typing import NDArray

from emt_core.looks import Look
from leaderboards.gate.policy import Limits
from leaderboards.statistics import MeanOfSamples, PairedSample
from leaderboards.statistics.interval import normal_quantile, tail
from leaderboards.statistics.paired import CORRECTION
from leaderboards.statistics.sequential import level_at

Floats = NDArray[np.float64]

POWER = 0.8
"""The chance to be decided for which documents are counted."""

_SMALLEST, _LARGEST = 1e-3, 1e6
"""How many times as large a sample may be."""

_ROUNDS = 4
"""How often the smallest drop that can be shown is found anew with the spread that it brings."""

_GRID, _ZOOMS = 65, 4
"""Points of a grid of sizes, and how often it is laid anew between two of them."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Documents that would decide, with 80 % chance, all units that are undecided.

    `documents` is right if the true drop is the one seen; `lower` and `upper` are the fewest and the most over all true
    drops in the unit's interval. None: no number would do, since the drop may be the limit itself.
    """

    documents: int | None
    lower: int | None
    upper: int | None

    def __str__(self) -> str:
        if self.documents is None and self.lower is None:
            return "no number of documents would decide"
        most = "any number" if self.upper is None else f"{self.upper:,}"
        if self.documents is None:
            return f"{self.lower:,} to {most} of documents would decide"
        return f"about {self.documents:,} documents would decide ({self.lower or self.documents:,} to {most})"


@dataclass(frozen=True, slots=True)
class Plan:
    """A unit's tests on a larger sample that spreads like the one at hand; `units` is how many Holm corrects for.

    `span` is the whole range of scores in the unit of the limits.
    At a `look` the tests have less than `alpha`; what is needed is counted at the last look's level.
    """

    sample: PairedSample | MeanOfSamples
    limits: Limits
    alpha: float
    units: int
    span: float = 100.0
    look: Look | None = None

    def needed(self, undecided: int, *, at_least: int = 1) -> Needed:
        """Return the documents that would decide this unit so surely that all `undecided` are, together, with `POWER`.

        Each unit gets its share of the chance to remain undecided (Bonferroni).
        """
        power = 1 - (1 - POWER) / max(undecided, 1)
        found = [self._documents(drop, power, at_least) for drop in self._drops(power)]
        seen = found[0]
        finite = [number for number in found if number is not None]
        return Needed(seen, min(finite, default=None), max(finite) if len(finite) == len(found) else None)

    def detectable(self) -> float | None:
        """Return the smallest true drop, in the unit of the limits, that this sample calls forgetting with `POWER`.

        It must be shown to be above `fails_above`, and must not be shown to be below the margin.
        """
        one, points = np.ones(1), self.limits.margin
        for _ in range(_ROUNDS):  # a larger drop spreads further
            shown = self._distances(points / self.span, _widened(self._level(self.alpha / self.units), POWER), one)
            passes = self._distances(points / self.span, self._level(self.alpha), one)
            slack = self._distances(points / self.span, 1 - POWER, one)
            if shown is None or passes is None or slack is None:
                return None
            above = self.limits.fails_above + self.span * float(shown[0][0])
            not_below = self.limits.margin + self.span * float(slack[0][0] - passes[1][0])
            points = max(above, not_below)
        return points

    def _drops(self, power: float) -> Iterator[float]:
        """Yield the drop seen, then those in its interval that need fewest and most documents."""
        seen = self.sample.difference
        yield seen
        bounds = self.sample.bounds(self._level(self.alpha), correction=CORRECTION)
        distances = [self._distances(seen, level, np.ones(1)) for level in self._levels(power)]
        if bounds is None or distances[0] is None or distances[1] is None:
            return
        yield from bounds
        # Between the limits, where either test asks for as many documents, both ask for most.
        above, below = float(distances[0][1][0]), float(distances[1][0][0])
        margin, fails_above = self.limits.margin / self.span, self.limits.fails_above / self.span
        hardest = (above * fails_above + below * margin) / (above + below) if above + below else margin
        yield float(np.clip(hardest, *bounds))

    def _documents(self, drop: float, power: float, at_least: int) -> int | None:
        passes, fails = self._levels(power)
        size = min(self._size(drop, passes, passes=True), self._size(drop, fails, passes=False))
        return max(ceil(size * self.sample.n), at_least) if isfinite(size) else None

    def _size(self, drop: float, level: float, *, passes: bool) -> float:
        """Return how many times as large a sample clears a limit at this level, if the true drop is `drop`."""
        low, high = _SMALLEST, _LARGEST
        for _ in range(_ZOOMS):
            sizes = np.geomspace(low, high, _GRID)
            distances = self._distances(drop, level, sizes)
            if distances is None:
                return inf
            below, above = distances
            clear = (
                drop + above < self.limits.margin / self.span
                if passes
                else drop - below > self.limits.fails_above / self.span
            )
            if not clear[-1]:
                return inf
            first = int(np.argmax(clear))
            if first == 0:
                return float(sizes[0])
            low, high = float(sizes[first - 1]), float(sizes[first])
        return high

    def _levels(self, power: float) -> tuple[float, float]:
        """Return the levels at which a bound clears the margin, and `fails_above`, with this power."""
        alphas = self.alpha, self.alpha / self.units
        last = [alpha if self.look is None else level_at(alpha, self.look.of, self.look.of) for alpha in alphas]
        return _widened(last[0], power), _widened(last[1], power)

    def _level(self, alpha: float) -> float:
        return alpha if self.look is None else level_at(alpha, self.look.number, self.look.of)

    def _distances(self, drop: float, level: float, sizes: Floats) -> tuple[Floats, Floats] | None:
        """Return how far the bounds would lie below and above this drop, for each size."""
        sample = _with_drop(self.sample, drop)
        bounds = sample.bounds_at(level, sizes, correction=CORRECTION)
        return None if bounds is None else (sample.difference - bounds[0], bounds[1] - sample.difference)


def _widened(level: float, power: float) -> float:
    return tail(normal_quantile(level) + normal_quantile(1 - power), None)


def _with_drop(sample: PairedSample | MeanOfSamples, drop: float) -> PairedSample | MeanOfSamples:
    """Return the sample with more lost, or gained, answers, so that its drop is this one.

    Where the drop is not a matter of counts, the spread stays that of the sample.
    """
    if isinstance(sample, MeanOfSamples):
        more = drop - sample.difference
        return replace(sample, parts=tuple(_with_drop_of_one(part, part.difference + more) for part in sample.parts))
    return _with_drop_of_one(sample, drop)


def _with_drop_of_one(sample: PairedSample, drop: float) -> PairedSample:
    if type(sample) is not PairedSample or sample.outcomes is not None:
        return sample
    more = round((drop - sample.difference) * sample.n)
    lost, gained = sample.lost + max(more, 0), sample.gained + max(-more, 0)
    if lost + gained > sample.n:  # all answers changed: no room for more
        return sample
    return PairedSample.from_counts(sample.n, lost, gained)
