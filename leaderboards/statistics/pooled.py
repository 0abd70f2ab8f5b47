"""The mean over several tasks, with the intervals and tests of a single one."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from leaderboards.statistics.interval import Interval
from leaderboards.statistics.means import mean_of_intervals, ratio_of_means
from leaderboards.statistics.multiple import mean_bounds
from leaderboards.statistics.paired import CORRECTION, PairedSample


@dataclass(frozen=True, slots=True)
class MeanOfSamples:
    """The unweighted mean over tasks, as for a group or a quadrant; the tasks' documents are independent."""

    parts: tuple[PairedSample, ...]

    @property
    def n(self) -> int:
        """All documents of all tasks."""
        return sum(part.n for part in self.parts)

    @property
    def difference(self) -> float:
        """The mean drop."""
        return sum(part.difference for part in self.parts) / len(self.parts)

    @property
    def method(self) -> str:
        """The name of the mean drop's interval."""
        return self.parts[0].method if len(self.parts) == 1 else "MOVER of the tasks' intervals"

    def bounds(self, alpha: float, *, correction: float = 0.0, size: float = 1.0) -> tuple[float, float] | None:
        """Return the one-sided `alpha` bounds of the mean drop; None where one task's are unknown."""
        estimates = []
        for part in self.parts:
            bounds = part.bounds(alpha, correction=correction, size=size)
            if bounds is None:
                return None
            estimates.append((bounds[0], part.difference, bounds[1]))
        return mean_bounds(estimates)

    def p_values(self, margin: float) -> tuple[float, float] | None:
        """Return the p-values as `PairedSample.p_values` does: the level at which the bound meets the margin."""
        if len(self.parts) == 1:
            return self.parts[0].p_values(margin)
        if self.bounds(0.5) is None:
            return None
        upper = self.difference < margin
        level = self._level_of_bound(margin, upper=upper)
        return (level, 1 - level) if upper else (1 - level, level)

    def _level_of_bound(self, margin: float, *, upper: bool) -> float:
        low, high = log(1e-300), log(0.5)
        for _ in range(60):
            middle = (low + high) / 2
            bounds = self.bounds(exp(middle), correction=CORRECTION)
            assert bounds is not None
            clear = bounds[1] < margin if upper else bounds[0] > margin
            low, high = (low, middle) if clear else (middle, high)
        return exp(high)

    def drop(self, *, level: float = 0.95) -> Interval:
        """Return the mean drop with its two-sided interval."""
        bounds = self.bounds((1 - level) / 2)
        lower, upper = bounds if bounds else (None, None)
        return Interval(self.difference, lower, upper, self.n, level, self.method)

    def accuracy(self, of: str, *, level: float = 0.95) -> Interval:
        """Return the mean over tasks of the "base" or "candidate" accuracy."""
        parts = [part.accuracy(of, level=level) for part in self.parts]
        return mean_of_intervals(parts, level=level)

    def retention(self, *, level: float = 0.95) -> Interval:
        """Return mean candidate accuracy / mean base accuracy."""
        if len(self.parts) == 1:
            return self.parts[0].retention(level=level)
        m = len(self.parts)
        base, candidate = (sum(getattr(part, side) for part in self.parts) / m for side in ("base", "candidate"))
        covariance = [sum(part.covariance[i] for part in self.parts) / m**2 for i in range(3)]
        return ratio_of_means(base, candidate, (covariance[0], covariance[1], covariance[2]), self.n, level=level)
