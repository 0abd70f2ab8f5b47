"""Learned against kept: a picture of the models between a base and its candidate, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.report.charts import Axis, make_axis
from leaderboards.report.rendering import render
from leaderboards.statistics import Interval

_WIDTH, _HEIGHT = 640.0, 360.0


@dataclass(frozen=True, slots=True)
class Point:
    """One model: percent of what the candidate learned, and points lost on the other task that lost most.

    `documents` are those of each task that it was tried on; `promising` says that it may pass; `label` stands beside
    it, `title` is its whole name.
    """

    title: str
    learned: Interval
    drop: Interval
    documents: int
    promising: bool
    chosen: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A point's place in the picture, and the ends of its bars where its intervals are known."""

    point: Point
    x: float
    y: float
    across: tuple[float, float] | None
    up: tuple[float, float] | None


def draw(points: Sequence[Point], margin: float | None) -> str:
    """Return the picture; bars are the points' intervals, and the dashed line is the margin, if it is one for all."""
    whole = max(point.documents for point in points)
    x = make_axis([end for point in points for end in point.learned.ends], include=[0.0, 100.0])
    low = [] if margin is None else [-margin]
    y = make_axis([-end for point in points for end in point.drop.ends], include=[0.0, *low])
    return render(
        "frontier.svg",
        {
            "points": sorted((_place(point, x, y) for point in points), key=lambda one: one.point.chosen),
            "whole": whole,
            "x": [(_across(tick, x), x.text(tick)) for tick in x.ticks],
            "y": [(_up(tick, y), y.text(tick)) for tick in y.ticks],
            "margin": None if margin is None else _up(-margin, y),
            "width": _WIDTH,
            "height": _HEIGHT,
        },
    )


def _across(value: float, axis: Axis) -> float:
    return round(axis(value) / 100 * _WIDTH, 2)


def _up(value: float, axis: Axis) -> float:
    return round(_HEIGHT - axis(value) / 100 * _HEIGHT, 2)


def _place(point: Point, x: Axis, y: Axis) -> _Placed:
    across, up = ([one.lower, one.upper] for one in (point.learned, point.drop))
    return _Placed(
        point,
        _across(point.learned.estimate or 0.0, x),
        _up(-(point.drop.estimate or 0.0), y),
        None if across[0] is None or across[1] is None else (_across(across[0], x), _across(across[1], x)),
        None if up[0] is None or up[1] is None else (_up(-up[1], y), _up(-up[0], y)),
    )
