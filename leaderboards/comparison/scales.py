"""The scale that a task's scores are on: what they range over, and the unit that drops and margins are in.

A metric from 0 to 1 is shown in percent and its drops in percentage points; any other in its own unit.

The tests work on drops from −1 to 1: they reckon with documents that were lost altogether, by 1, whether or not one was
seen. Of a metric from 0 to 1, and of one whose range the user states (`--metric TASK=NAME:0..10`), a whole range can be
lost, and the tests hold whatever the scores are. Of any other, only the largest change that was seen, in either
direction: rare losses larger than that are outside what the tests allow for. benchmarks/any_range.py measures both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a policy, and so every command's options, needs the units alone
    import polars as pl


@dataclass(frozen=True, slots=True)
class Scale:
    """Scores of `low` + `span`·x; `unit` is what a drop is counted in, and `span` the largest that is reckoned with.

    `reach` is what the scores range over, from the lowest on: x is at most 1 where that is the span.
    """

    unit: str
    span: float
    low: float = 0.0
    reach: float = 100.0

    @property
    def is_percent(self) -> bool:
        """Whether drops are percentage points."""
        return self == POINTS

    @property
    def digits(self) -> int:
        """Decimals that show a thousandth of the range."""
        return max(0, 3 - ceil(log10(self.reach) - 1e-9))

    @property
    def origin(self) -> float:
        """Where a score of 0 lies, counted down from the lowest: what a share of a score is a share of."""
        return self.low / self.span

    def placed(self, score: pl.Expr) -> pl.Expr:
        """Return scores as logged on the scale from 0 on."""
        return score if self.is_percent else (score - self.low) / self.span


POINTS = Scale("points", 100.0)
"""Metrics from 0 to 1: percent, and percentage points."""


def find_scale(
    unit: str,
    scores: Iterable[pl.Series],
    stated: tuple[float, float] | None = None,
    *,
    drops: Iterable[pl.Series] = (),
) -> Scale:
    """Return the scale of scores as logged, by the range that is stated or that they have; nulls do not count.

    Without `drops`, the differences of scores that are tested, a drop is reckoned to be as large as the range.
    """
    if stated is not None:
        low, high = stated
        return POINTS if stated == (0.0, 1.0) else Scale(unit, high - low, low, high - low)
    seen = [float(end) for one in scores if one.count() for end in (one.min(), one.max())]  # type: ignore[arg-type]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    if low >= 0 and high <= 1:
        return POINTS
    reach = high - low or abs(high)
    largest = max((float(one.abs().max()) for one in drops if one.count()), default=0.0)  # type: ignore[arg-type]
    return Scale(unit, largest or reach, low, reach)
