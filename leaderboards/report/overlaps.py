"""Marks and lines of a chart that would hide each other: in which layer each is drawn, so that all can be seen.

Nothing is moved: the first mark on a spot is drawn as it is, every further one as a ring around it; of lines that
coincide, every further one is dashed, so that those below show through.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, dist, radians, sin

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


def bearings(places: Sequence[Place], found: Sequence[int]) -> list[int]:
    """Return where on its ring each mark has its small mark, in degrees clockwise from the right; 0 without a ring.

    `found` are the places' layers. The small mark keeps as far as it can from all other marks, large and small.
    """
    taken = [place for place, layer in zip(places, found, strict=True) if layer == 0]
    chosen = []
    for place, layer in zip(places, found, strict=True):
        if layer == 0:
            chosen.append(0)
            continue
        spots = {bearing: _on_ring(place, layer, bearing) for bearing in range(-45, 315, 30)}
        # The nearest mark counts first, then the second. Rounded, so that equal distances are equal on any machine.
        far = {bearing: sorted(round(dist(spot, other), 3) for other in taken) for bearing, spot in spots.items()}
        best = max(far, key=far.__getitem__)
        taken.append(spots[best])
        chosen.append(best)
    return chosen


def _on_ring(place: Place, layer: int, bearing: int) -> Place:
    turn, radius = radians(bearing), ring_radius(layer)
    return (place[0] + radius * cos(turn), place[1] + radius * sin(turn))


def ring_radius(layer: int) -> float:
    """Return the radius in pixels of the ring of a layer above 0."""
    return RADIUS + _GAP * layer


def dashes(layer: int) -> str:
    """Return a line's `stroke-dasharray`: solid in layer 0, half as many dashes in each layer as in the one below."""
    return "none" if layer == 0 else f"{_DASH} {_DASH * (2**layer - 1)}"


def _same_spot(one: Place, other: Place) -> bool:
    return all(abs(a - b) < SPOT for a, b in zip(one, other, strict=True))
