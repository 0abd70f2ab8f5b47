"""Spans of a text, and which of them cover a place: by bisection, for answers that repeat one phrase without end."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

Span = tuple[int, int]
"""[start, end) in folded text."""


class Spans:
    """A set of spans; they may overlap."""

    def __init__(self, spans: Iterable[Span]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._reach = list(accumulate((end for _, end in ordered), max))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def covers(self, place: int) -> bool:
        """Whether a place is in any of the spans."""
        return self.meets(place, place + 1)

    def meets(self, start: int, end: int) -> bool:
        """Whether [start, end) shares a place with any of the spans."""
        before = bisect_left(self._starts, end)
        return before > 0 and self._reach[before - 1] > start


class Places:
    """Where a pattern occurs in a text, found in one pass."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._starts = [match.start() for match in pattern.finditer(text)]
        self._end = len(text)

    def first(self, start: int) -> int:
        """Return the first place from `start` on, else the length of the text."""
        number = bisect_left(self._starts, start)
        return self._starts[number] if number < len(self._starts) else self._end

    def last(self, end: int) -> int:
        """Return the last place before `end`, -1 if there is none."""
        number = bisect_left(self._starts, end)
        return self._starts[number - 1] if number else -1

    def count(self, start: int, end: int) -> int:
        """Return how many there are in [start, end)."""
        return max(0, bisect_left(self._starts, end) - bisect_left(self._starts, start))


def without_overlaps(spans: Sequence[Span]) -> list[int]:
    """Return the numbers of those spans, in the order given, that overlap no span taken before them."""
    starts: list[int] = []
    ends: list[int] = []
    taken = []
    for number, (start, end) in enumerate(spans):
        place = bisect_right(starts, start)
        if (place and ends[place - 1] > start) or (place < len(starts) and starts[place] < end):
            continue
        starts.insert(place, start)
        ends.insert(place, end)
        taken.append(number)
    return taken
