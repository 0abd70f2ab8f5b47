"""How often to look at a model in training, so that looks take a small share of the time."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from statistics import median

SHARE = 0.05
"""The share of the time of steps and looks that looks take at most."""

_ROOM = 0.8
"""The part of that share that is planned: a model that has changed may write longer answers than its base."""

_TIMED_FROM, _TIMED_TO = 1, 6
"""The steps whose time counts; the first one also compiles and allocates."""


def interval(look: float, step: float) -> int:
    """Return after how many steps to look: look / (every · step + look) is at most the planned share.

    Args:
        look: seconds that a look takes.
        step: seconds that a step takes.
    """
    share = _ROOM * SHARE
    return max(1, ceil(look * (1 - share) / (share * max(step, 1e-9))))


class Pace:
    """Finds the interval by the first steps' times.

    Args:
        look: seconds that a look takes, as estimated before training.
        together: turns a process's seconds into those that all processes agree on.
    """

    def __init__(self, look: float, together: Callable[[float], float] = float) -> None:
        self.look, self._together = look, together
        self.step = 0.0
        """Seconds of a step; known with the interval."""
        self._seconds: list[float] = []

    def timed(self, seconds: float) -> int | None:
        """Note a step's time; return the interval once enough are known."""
        self._seconds.append(seconds)
        if len(self._seconds) < _TIMED_TO:
            return None
        self.look, self.step = self._together(self.look), self._together(median(self._seconds[_TIMED_FROM:]))
        return interval(self.look, self.step)
