"""Drawn shapes: eight kinds in six colours, in two sizes, anywhere on uneven dark backgrounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from emt_tasks.demo.digits import SIZE

COUNTS = {"train": 4800, "test": 400}

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 40),
    "white": (235, 235, 235),
    "purple": (160, 50, 190),
}
RADII = {"small": (6.0, 8.0), "large": (12.5, 14.0)}
"""From the centre to the furthest corner, in pixels."""

_FINENESS = 4
"""Each pixel is the mean of a square grid of points with this side."""

Corners = tuple[tuple[float, float], ...]


def _arc(start: float, end: float, points: int) -> Corners:
    """Points on the unit circle between two angles in degrees; 0 is up, clockwise."""
    angles = (math.radians(start + (end - start) * index / (points - 1)) for index in range(points))
    return tuple((math.sin(angle), -math.cos(angle)) for angle in angles)


def _star() -> Corners:
    ring = _arc(0, 324, 10)
    return tuple((x, y) if index % 2 == 0 else (0.42 * x, 0.42 * y) for index, (x, y) in enumerate(ring))


def _cross() -> Corners:
    arm = ((-0.3, -0.95), (0.3, -0.95), (0.3, -0.3))
    turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
    return tuple((x * cos - y * sin, x * sin + y * cos) for cos, sin in turns for x, y in arm)


OUTLINES: dict[str, Corners] = {
    "circle": _arc(0, 354, 60),
    "semicircle": _arc(-90, 90, 31),
    "triangle": _arc(0, 240, 3),
    "square": _arc(45, 315, 4),
    "diamond": ((0, -1), (0.55, 0), (0, 1), (-0.55, 0)),
    "arrow": ((0, -1), (0.8, -0.1), (0.28, -0.1), (0.28, 0.95), (-0.28, 0.95), (-0.28, -0.1), (-0.8, -0.1)),
    "star": _star(),
    "cross": _cross(),
}
"""Corners in units of the radius, y downwards. Circle and semicircle are polygons too fine to notice."""

CORNERS = {name: {"circle": 0, "semicircle": 2}.get(name, len(outline)) for name, outline in OUTLINES.items()}


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawing: `SIZE` × `SIZE`, RGB; `name` is unique among all images, `label` the index of its kind."""

    name: str
    image: Image.Image
    kind: str
    colour: str
    size: str

    @property
    def label(self) -> int:
        """The index of its kind in the vocabulary."""
        return list(OUTLINES).index(self.kind)


@cache
def shapes(split: str) -> tuple[Shape, ...]:
    """Return the drawings of `train` (4,800) or `test` (400): all kinds equally often."""
    kinds = list(OUTLINES)
    return tuple(draw(f"shapes/{split}/{index:04}.png", kinds[index % len(kinds)]) for index in range(COUNTS[split]))


def draw(name: str, kind: str) -> Shape:
    """Draw a shape of this kind; colour, size, place, slant and background follow from the name."""
    chance = Random(name)  # seeded by a string: the same on every machine
    colour, size = chance.choice(list(COLOURS)), chance.choice(list(RADII))
    radius = chance.uniform(*RADII[size])
    centre = [chance.uniform(radius, SIZE - radius) for _ in range(2)]
    coverage = _coverage(_placed(OUTLINES[kind], centre, radius, math.radians(chance.uniform(-12, 12))))
    paint = np.array([channel + chance.uniform(-20, 20) for channel in COLOURS[colour]])
    left, right = chance.uniform(0, 90), chance.uniform(0, 90)
    ground = np.broadcast_to(np.linspace(left, right, SIZE)[None, :, None], (SIZE, SIZE, 3))
    pixels = np.clip(np.rint(ground + coverage[:, :, None] * (paint - ground)), 0, 255)
    return Shape(name, Image.fromarray(pixels.astype(np.uint8)), kind, colour, size)


def _placed(outline: Corners, centre: list[float], radius: float, slant: float) -> Corners:
    """Return the outline in pixels, rounded so that the last bit of a sine decides no point."""
    cos, sin = radius * math.cos(slant), radius * math.sin(slant)
    across, down = centre
    return tuple((round(across + x * cos - y * sin, 3), round(down + x * sin + y * cos, 3)) for x, y in outline)


def _coverage(polygon: Corners) -> np.ndarray:
    """Return how much of each pixel is inside, (SIZE, SIZE) from 0 to 1, by the even-odd rule."""
    axis = (np.arange(SIZE * _FINENESS) + 0.5) / _FINENESS
    inside = np.zeros((len(axis), len(axis)), dtype=bool)
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        rows = (y1 > axis) != (y2 > axis)  # those that the edge crosses
        if rows.any():
            crossing = x1 + (axis[rows] - y1) * (x2 - x1) / (y2 - y1)
            inside[rows] ^= axis < crossing[:, None]
    coverage: np.ndarray = inside.reshape(SIZE, _FINENESS, SIZE, _FINENESS).mean(axis=(1, 3))
    return coverage
