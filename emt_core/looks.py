"""Looks: after how many documents a check that may end early is looked at, and where a task of a run stands."""

from __future__ import annotations

from dataclasses import dataclass

LOOKS = 10
"""How often a sequential check looks at its documents at most, equally spaced."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where a task stands: at its look `number` of `of`, after `documents` of at most `most`."""

    number: int
    of: int
    documents: int
    most: int

    @classmethod
    def at(cls, number: int, most: int, of: int = LOOKS) -> Look:
        """Return a look at `most` documents: each look has as many more, rounded up."""
        return cls(number, of, -(-most * number // of), most)

    @property
    def last(self) -> bool:
        """Whether there is no further one."""
        return self.number == self.of

    def __str__(self) -> str:
        """Name it as messages do."""
        return f"look {self.number} of {self.of}"
