"""Marks and lines of a chart that would hide each other: in which layer each is drawn, so that all can be seen.

Nothing is moved: the first mark on a spot is drawn as it is, every further one as a ring around it; of lines that
coincide, every further one is dashed, so that those below show through.
"""

from __future__ import annotations

from collections.abc import Sequence

NARROWEST = 280.0
"""Pixels that a panel is wide on a phone: what does not overlap there does not overlap anywhere."""

SPOT = 8.0
"""Pixels: marks whose centres are less than this apart, across and up, are on one spot."""

RADIUS = 5.0
"""Pixels from a mark's centre to its edge."""

_GAP = 4.5
"""Pixels from one ring to the next."""

_DASH = 8

Place = tuple[float, ...]
"""Coordinates in pixels: two for a mark, four for a line."""


def pixels(x: float, y: float) -> Place:
    """Return a mark's place on the narrowest screen; `x` is in percent of the width, `y` in pixels."""
    return (x * NARROWEST / 100, y)


def layers(places: Sequence[Place]) -> list[int]:
    """Return each place's layer, in order: the lowest, from 0, that no earlier place on the same spot has."""
    found: list[int] = []
    for index, place in enumerate(places):
        taken = {found[earlier] for earlier in range(index) if _same_spot(place, places[earlier])}
        found.append(next(layer for layer in range(len(taken) + 1) if layer not in taken))
    return found


def ring_radius(layer: int) -> float:
    """Return the radius in pixels of the ring of a layer above 0."""
    return RADIUS + _GAP * layer


def dashes(layer: int) -> str:
    """Return a line's `stroke-dasharray`: solid in layer 0, half as many dashes in each layer as in the one below."""
    return "none" if layer == 0 else f"{_DASH} {_DASH * (2**layer - 1)}"


def _same_spot(one: Place, other: Place) -> bool:
    return all(abs(a - b) < SPOT for a, b in zip(one, other, strict=True))
