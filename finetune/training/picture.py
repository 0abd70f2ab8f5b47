"""A run's traces as a picture: the accuracy of each task at each checkpoint, for trackers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_NAME: Final = "traces"
_SIZE: Final = (960, 540)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 30, 680, 480
"""The panel in pixels; the names of the tasks stand to its right."""

_COLOURS: Final = ("#2457c5", "#d1492e", "#17703f", "#9a4fb5", "#b07400", "#1f7a8c", "#c0306a", "#5c6475")
"""Those of the report."""

_INK, _GRID = "#1a1f29", "#dde1e8"


def show_traces(trackers: Iterable[Any], accuracies: Mapping[int, Mapping[str, float]], step: int) -> None:
    """Send the picture to those of accelerate's trackers that take pictures; see `draw_traces`."""
    picture = draw_traces(accuracies)
    for tracker in trackers:
        if tracker.name == "trackio":
            from trackio import Image as Picture

            tracker.log({_NAME: Picture(picture)}, step=step)
        elif tracker.name in ("tensorboard", "wandb", "swanlab"):
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({_NAME: np.asarray(picture)[np.newaxis]}, step=step, **layout)


def draw_traces(accuracies: Mapping[int, Mapping[str, float]]) -> Image.Image:
    """Draw accuracy against steps, a line for each task.

    Args:
        accuracies: of each task at each step, from 0 to 1.
    """
    picture = Image.new("RGB", _SIZE, "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(16)
    last = max(max(accuracies), 1)

    def place(step: int, accuracy: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * step / last, _BOTTOM - (_BOTTOM - _TOP) * accuracy

    for percent in range(0, 101, 20):
        (x, y), (end, _) = place(0, percent / 100), place(last, 0)
        pen.line([(x, y), (end, y)], fill=_GRID)
        pen.text((x - 10, y), f"{percent} %", fill=_INK, font=font, anchor="rm")
    for step in sorted({0, last // 2, last}):
        pen.text((place(step, 0)[0], _BOTTOM + 10), f"{step:,}", fill=_INK, font=font, anchor="mt")
    pen.text(((_LEFT + _RIGHT) / 2, _BOTTOM + 34), "steps", fill=_INK, font=font, anchor="mt")
    tasks = sorted({task for scores in accuracies.values() for task in scores})
    ends = {}
    for number, task in enumerate(tasks):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [place(step, scores[task]) for step, scores in sorted(accuracies.items()) if task in scores]
        pen.line(points, fill=colour, width=3)
        for x, y in points:
            pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour)
        ends[task] = points[-1][1], colour
    _write_names(pen, font, ends)
    return picture


def _write_names(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    ends: Mapping[str, tuple[float, str]],
) -> None:
    """Write each task's name beside the end of its line, far enough from the others."""
    lowest = _TOP - 20.0
    for task, (y, colour) in sorted(ends.items(), key=lambda end: end[1]):
        lowest = max(y, lowest + 20)
        pen.text((_RIGHT + 14, lowest), task, fill=colour, font=font, anchor="lm")
