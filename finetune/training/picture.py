"""A run's traces as a picture for trackers: each task's accuracy, and how far its answers have moved, against steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_TRACES, _LOOKS = "traces", "looks"
"""What trackers call the pictures of the evaluations and of the looks."""

_SIZE: Final = (960, 540)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 30, 680, 480
"""A panel in pixels; the names of the tasks stand to its right."""

_COLOURS: Final = ("#2457c5", "#d1492e", "#17703f", "#9a4fb5", "#b07400", "#1f7a8c", "#c0306a", "#5c6475")
"""Those of the report."""

_INK, _GRID = "#1a1f29", "#dde1e8"

Values = Mapping[int, Mapping[str, float]]
"""Step: task: a number."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """Numbers against steps: `top` is the axis's end, whose ticks `text` names."""

    values: Values
    under: str
    top: float
    text: Callable[[float], str]


def show_traces(trackers: Iterable[Any], accuracies: Values, step: int) -> None:
    """Send the picture of the evaluations to those of accelerate's trackers that take pictures; see `draw_traces`."""
    _send(trackers, _TRACES, draw_traces(accuracies), step)


def show_looks(trackers: Iterable[Any], looks: Mapping[int, Mapping[str, Mapping[str, float]]], step: int) -> None:
    """Send the picture of the looks: accuracy and, below, KL.

    Args:
        trackers: accelerate's.
        looks: what was logged of each task at each step.
        step: the last one.
    """
    accuracies, divergences = (
        {
            number: {task: found[name] for task, found in tasks.items() if name in found}
            for number, tasks in looks.items()
        }
        for name in ("accuracy", "kl")
    )
    _send(trackers, _LOOKS, draw_traces(accuracies, divergences), step)


def _send(trackers: Iterable[Any], name: str, picture: Image.Image, step: int) -> None:
    for tracker in trackers:
        if tracker.name == "trackio":
            from trackio import Image as Picture

            tracker.log({name: Picture(picture)}, step=step)
        elif tracker.name in ("tensorboard", "wandb", "swanlab"):
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: np.asarray(picture)[np.newaxis]}, step=step, **layout)


def draw_traces(accuracies: Values, divergences: Values | None = None) -> Image.Image:
    """Draw accuracy against steps, a line for each task; below it the divergence from the base, if there is one.

    Args:
        accuracies: of each task at each step, from 0 to 1.
        divergences: KL of each task at each step, in nats.
    """
    panels = [_Panel(accuracies, "steps", 1.0, lambda value: f"{100 * value:.0f} %")]
    known = [value for tasks in (divergences or {}).values() for value in tasks.values()]
    if divergences and known:
        panels.append(
            _Panel(divergences, "steps; KL from the base, nats", max(*known, 0.1), lambda value: f"{value:.2g}")
        )
    picture = Image.new("RGB", (_SIZE[0], _SIZE[1] * len(panels)), "white")
    tasks = sorted({task for panel in panels for scores in panel.values.values() for task in scores})
    for number, panel in enumerate(panels):
        part = Image.new("RGB", _SIZE, "white")
        _draw(ImageDraw.Draw(part), panel, tasks, max(*accuracies, 1))
        picture.paste(part, (0, _SIZE[1] * number))
    return picture


def _draw(pen: ImageDraw.ImageDraw, panel: _Panel, tasks: Sequence[str], last: int) -> None:
    """Draw a panel up to a last step."""
    font = ImageFont.load_default(16)

    def place(step: int, value: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * step / last, _BOTTOM - (_BOTTOM - _TOP) * value / panel.top

    for tick in (panel.top * fifth / 5 for fifth in range(6)):
        (x, y), (end, _) = place(0, tick), place(last, 0)
        pen.line([(x, y), (end, y)], fill=_GRID)
        pen.text((x - 10, y), panel.text(tick), fill=_INK, font=font, anchor="rm")
    for step in sorted({0, last // 2, last}):
        pen.text((place(step, 0)[0], _BOTTOM + 10), f"{step:,}", fill=_INK, font=font, anchor="mt")
    pen.text(((_LEFT + _RIGHT) / 2, _BOTTOM + 34), panel.under, fill=_INK, font=font, anchor="mt")
    ends = {}
    for number, task in enumerate(tasks):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [place(step, scores[task]) for step, scores in sorted(panel.values.items()) if task in scores]
        if not points:
            continue
        pen.line(points, fill=colour, width=3)
        for x, y in points:
            pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour)
        ends[task] = points[-1][1], colour
    _write_names(pen, font, ends)


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
