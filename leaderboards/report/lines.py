"""Curves over epochs or steps, in panels below each other, as one SVG that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboards.report.charts import Axis, make_axis
from leaderboards.report.rendering import render

_WIDTH, _HEIGHT, _BETWEEN = 640.0, 200.0, 72.0
COLOURS = 6
"""How many curves of a panel differ in colour."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    `curves` have a name each, and a value for every place on the x axis, None where there is none; `within` bounds the
    y axis by what can be measured.
    """

    title: str
    curves: Mapping[str, Sequence[float | None]]
    within: tuple[float, float] | None = None


def draw_lines(
    title: str, across: str, places: Sequence[float], panels: Sequence[Panel], mark: tuple[float, str] | None = None
) -> str:
    """Return the picture.

    Args:
        title: what it shows, for those who cannot see it.
        across: the x axis's title.
        places: the values on the x axis, in order.
        panels: from top to bottom.
        mark: a place on the x axis with a dashed line, and its name.
    """
    x = make_axis(places, ticks=8)
    return render(
        "lines.svg",
        {
            "title": title,
            "across": across,
            "panels": [_placed(panel, places, x, number) for number, panel in enumerate(panels)],
            "x": [(_WIDTH * x(tick) / 100, x.text(tick)) for tick in x.ticks],
            "mark": mark and (_WIDTH * x(mark[0]) / 100, mark[1]),
            "width": _WIDTH,
            "height": _HEIGHT,
            "whole": len(panels) * (_HEIGHT + _BETWEEN),
        },
    )


def _placed(panel: Panel, places: Sequence[float], x: Axis, number: int) -> Mapping[str, object]:
    known = [value for values in panel.curves.values() for value in values if value is not None]
    y = make_axis(known, include=panel.within or (), within=panel.within, least=1e-3, ticks=5)
    curves = [
        {
            "name": name,
            "colour": index % COLOURS,
            "points": " ".join(
                f"{_WIDTH * x(place) / 100:.1f},{_up(value, y):.1f}"
                for place, value in zip(places, values, strict=True)
                if value is not None
            ),
            "last": next((value for value in reversed(values) if value is not None), None),
        }
        for index, (name, values) in enumerate(panel.curves.items())
    ]
    return {
        "title": panel.title,
        "top": number * (_HEIGHT + _BETWEEN),
        "y": [(_up(tick, y), y.text(tick)) for tick in y.ticks],
        "curves": curves,
    }


def _up(value: float, axis: Axis) -> float:
    return round(_HEIGHT * (1 - axis(value) / 100), 2)
