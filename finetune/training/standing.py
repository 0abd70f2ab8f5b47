"""What a checkpoint has learned and lost on the watched tasks' whole pools, and which checkpoint is the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MARGIN = 2.0
"""Points that a task of the best checkpoint may have lost, where the recipe sets no `stop`."""

_ROUNDING = 1e-9
"""Points: a mean drop is a sum of floats, and one that equals the margin passes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a checkpoint has learned and lost on the whole pool, in points; `worst` is the task that lost most."""

    step: int
    learned: float
    lost: float
    worst: str
    passes: bool

    @classmethod
    def of(cls, step: int, drops: dict[str, float], learn: str | None, margin: float) -> Standing:
        """Return a checkpoint's standing.

        Args:
            step: after which it was written.
            drops: each task's mean loss, in points.
            learn: the task that is learned.
            margin: what each other task may lose, in points.
        """
        worst = max((task for task in drops if task != learn), key=drops.__getitem__)
        learned = -drops[learn] if learn else 0.0
        return cls(step, learned, drops[worst], worst, drops[worst] <= margin + _ROUNDING)

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts the best first: of those that pass by what they learned, of the others by what they lost.

        Of equals, that which lost less or learned more, then the earlier one.
        """
        return (0, -self.learned, self.lost, self.step) if self.passes else (1, self.lost, -self.learned, self.step)

    def __str__(self) -> str:
        verdict = "" if self.passes else ", more than it may; no checkpoint lost less"
        return f"learned {self.learned:.1f} points, lost at most {self.lost:.1f} ({self.worst}){verdict}"


def best(standings: Iterable[Standing]) -> Standing | None:
    """Return the best of some checkpoints; None if there is none."""
    return min(standings, key=lambda standing: standing.rank, default=None)
