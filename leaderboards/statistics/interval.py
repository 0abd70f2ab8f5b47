"""An estimate that carries its uncertainty, and the quantiles that its bounds are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit


@dataclass(frozen=True, slots=True)
class Interval:
    """A number, the interval around it, and how many samples it rests on.

    Undefined values are None: with `n` of 0 the estimate too. `level` is the two-sided confidence, `method` the
    name of the interval.
    """

    estimate: float | None
    lower: float | None
    upper: float | None
    n: int
    level: float
    method: str

    @property
    def ends(self) -> list[float]:
        """The bounds and the estimate, as far as they are known: what a chart has to have room for."""
        return [value for value in (self.lower, self.estimate, self.upper) if value is not None]

    def scaled(self, factor: float) -> Interval:
        """Return the same interval in another unit: 100 makes percent of proportions, -1 gains of drops."""

        def scale(value: float | None) -> float | None:
            return None if value is None else value * factor

        lower, upper = (self.lower, self.upper) if factor >= 0 else (self.upper, self.lower)
        return replace(self, estimate=scale(self.estimate), lower=scale(lower), upper=scale(upper))

    def shifted(self, by: float) -> Interval:
        """Return the same interval counted from another zero."""

        def shift(value: float | None) -> float | None:
            return None if value is None else value + by

        return replace(self, estimate=shift(self.estimate), lower=shift(self.lower), upper=shift(self.upper))

    def as_dict(self) -> dict[str, float | int | str | None]:
        """Return the fields as JSON-ready values."""
        return asdict(self)


def undefined(n: int, level: float, method: str) -> Interval:
    """Return an interval of which only the number of samples is known."""
    return Interval(None, None, None, n, level, method)


def normal_quantile(alpha: float) -> float:
    """Return the upper `alpha` quantile of the standard normal distribution, by scipy: 1.645 for 0.05."""
    return -float(ndtri(alpha))


def quantile(alpha: float, freedom: int | None) -> float:
    """Return the upper `alpha` quantile of Student's t with `freedom` degrees of freedom; None: of the normal."""
    return float(quantiles(alpha, freedom))


def quantiles(alpha: ArrayLike, freedom: int | None) -> NDArray[np.float64]:
    """Return `quantile` for an array of levels, by scipy."""
    return np.asarray(-ndtri(alpha) if freedom is None else -stdtrit(freedom, alpha), np.float64)


def tail(statistic: float, freedom: int | None) -> float:
    """Return P(T > statistic) for Student's t with `freedom` degrees of freedom, by scipy; None: for the normal."""
    return float(ndtr(-statistic) if freedom is None else stdtr(freedom, -statistic))
