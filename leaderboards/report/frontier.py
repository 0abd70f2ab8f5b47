"""Learned against kept: a picture of the models between a base and its candidate, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.report.charts import Axis, make_axis
from leaderboards.report.rendering import render

_NORMAL = 1.96
_WIDTH, _HEIGHT = 640.0, 360.0


@dataclass(frozen=True, slots=True)
class Point:
    """One model: percent of what the candidate learned, points that other tasks changed by, and standard errors.

    `documents` are those of each task that it was tried on; `label` stands beside it, `title` is its whole name.
    """

    title: str
    learned: float
    change: float
    learned_error: float
    change_error: float
    documents: int
    chosen: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Placed:
    point: Point
    x: float
    y: float
    across: tuple[float, float]
    up: tuple[float, float]


def draw(points: Sequence[Point], margin: float | None) -> str:
    """Return the picture; error bars are 95 % intervals, and the dashed line is the margin, if it is one for all."""
    whole = max(point.documents for point in points)
    x = make_axis([end for point in points for end in _ends(point.learned, point.learned_error)], include=[0.0, 100.0])
    low = [] if margin is None else [-margin]
    y = make_axis([end for point in points for end in _ends(point.change, point.change_error)], include=[0.0, *low])
    return render(
        "frontier.svg",
        {
            "points": sorted((_place(point, x, y) for point in points), key=lambda one: one.point.chosen),
            "whole": whole,
            "x": [(_across(tick, x), x.text(tick)) for tick in x.ticks],
            "y": [(_up(tick, y), y.text(tick)) for tick in y.ticks],
            "margin": None if margin is None else (_up(-margin, y), margin),
            "width": _WIDTH,
            "height": _HEIGHT,
        },
    )


def _ends(value: float, error: float) -> tuple[float, float]:
    return value - _NORMAL * error, value + _NORMAL * error


def _across(value: float, axis: Axis) -> float:
    return round(axis(value) / 100 * _WIDTH, 2)


def _up(value: float, axis: Axis) -> float:
    return round(_HEIGHT - axis(value) / 100 * _HEIGHT, 2)


def _place(point: Point, x: Axis, y: Axis) -> _Placed:
    across, up = _ends(point.learned, point.learned_error), _ends(point.change, point.change_error)
    return _Placed(
        point,
        _across(point.learned, x),
        _up(point.change, y),
        (_across(across[0], x), _across(across[1], x)),
        (_up(up[0], y), _up(up[1], y)),
    )
