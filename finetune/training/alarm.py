"""A test that may be looked at after every document, while the model changes: has it lost more than a margin?

Each document drawn at random from a task, with replacement, gives a drop x: the base's score less the model's, from -1
to 1. While the model has lost at most the margin m in the mean over the task, whoever bets on more has a capital that
is a supermartingale, whatever else changes; so that it ever reaches 1/α has a chance of at most α (Ville). The capital:

    K = Π (1 + λ (y − m')),   y = (x + 1) / 2,   m' = (m + 1) / 2,   0 ≤ λ ≤ c / m'

with λ from the documents before (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS-B 86 (2024) 1–27, §3 and aGRAPA of appendix B). Forgetting may begin late: the capital is shared among bets that
begin at each look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_MOST = 0.75
"""c: the part of the largest bet that is ever made, so that no document can take all."""

_RECENT = 200
"""Documents back from which a bet is made: the model of long ago says little of that of now."""


class Alarm:
    """Raised once it is shown that a model has lost more than a margin.

    Args:
        margin: from 0 to 1, such as 0.02 for two points.
        looks: how often documents will be added at most.
        alpha: the chance of a false alarm over the whole training.
    """

    def __init__(self, margin: float, looks: int, alpha: float = 0.05) -> None:
        self.alpha = alpha
        self._bound = (margin + 1) / 2
        self._shares = np.full(max(1, looks), 1 / max(1, looks))
        self._capital = np.ones(max(1, looks))
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._looks = 0

    @property
    def capital(self) -> float:
        """What one unit of capital has become; its reciprocal is an anytime-valid p-value."""
        return float(self._shares @ self._capital)

    @property
    def raised(self) -> bool:
        """Whether the capital has reached 1/α."""
        return self.capital >= 1 / self.alpha

    def add(self, drops: ArrayLike) -> bool:
        """Add the drops of a look's documents, each from -1 to 1; return whether the alarm is raised now.

        Raises:
            ValueError: there have been as many looks as there can be, or a drop is out of range.
        """
        if self._looks == len(self._capital):
            raise ValueError("more looks than the alarm was made for")
        values = (np.asarray(drops, float) + 1) / 2
        if values.size and (values.min() < 0 or values.max() > 1):
            raise ValueError("a drop is outside of -1 to 1")
        self._looks += 1
        for value in values:
            factor = 1 + self._bet() * (value - self._bound)
            self._capital[: self._looks] *= factor
            self._recent.append(float(value))
            if self.raised:
                return True
        return self.raised

    def _bet(self) -> float:
        """Return λ by the recent documents: their mean excess over its second moment."""
        n, total = len(self._recent), sum(self._recent)
        squares = sum(value * value for value in self._recent)
        mean = (0.5 + total) / (n + 1)
        variance = (0.25 + squares - 2 * mean * total + n * mean * mean) / (n + 1)
        excess = mean - self._bound
        return min(max(excess / (variance + excess**2), 0.0), _MOST / self._bound)


def first_alarm(drops: Sequence[ArrayLike], margin: float, alpha: float = 0.05) -> int | None:
    """Return the look at which the alarm is first raised, from 0 on; None if it never is."""
    alarm = Alarm(margin, len(drops), alpha)
    return next((look for look, found in enumerate(drops) if alarm.add(found)), None)
