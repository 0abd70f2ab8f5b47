"""Checkpoints traced through the matrix: accuracy on the fine-tuned task against accuracy in a quadrant.

As figure 2 of arXiv 2603.14493 draws it: one panel per quadrant, one curve per recipe, each starting at the base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from leaderboards.comparison.forgetting import Comparison, Scores
from leaderboards.report.candidates import Candidate
from leaderboards.report.charts import Axis, make_axis
from leaderboards.report.overlaps import bearings, layers, pixels
from leaderboards.report.text import with_bounds
from leaderboards.statistics import Interval

HEIGHT = 220
"""Pixels from the bottom of a panel to its top."""

LEAST_SPAN = 10.0
"""Percentage points that an axis spans at least, so that noise does not look like a change."""


@dataclass(frozen=True, slots=True)
class Point:
    """One model in one panel: accuracies in percent, `x` in percent of the width, `y` in pixels from the top.

    `ring` is the layer of its mark, `bearing` where on the ring its small mark is, and `dash` the layer of the line
    that leads to it, as `overlaps` says. The base is one model with a mark on one spot: `ring` is None where an earlier
    curve has drawn it. `said` is what is told of it where the pointer rests on it.
    """

    label: str
    across: Interval
    up: Interval
    x: float
    y: float
    ring: int | None = 0
    bearing: int = 0
    dash: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One recipe's checkpoints in order, the base first; `index` numbers the recipe, for its colour and marker."""

    recipe: str
    index: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One quadrant, or one task if no quadrant was evaluated."""

    name: str
    tasks: tuple[str, ...]
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]

    def up(self, value: float) -> float:
        """Return a value's position in pixels from the panel's top."""
        return round(HEIGHT * (1 - self.y(value) / 100), 2)


@dataclass(frozen=True, slots=True)
class Traces:
    """The panels, and the task on their common x axis."""

    task: str
    recipes: tuple[str, ...]
    panels: tuple[Panel, ...]


_Model = tuple[str, Interval, Interval]


def trace(pairs: Sequence[tuple[Candidate, Comparison]], finetuned_on: str | None) -> Traces | None:
    """Trace two candidates or more; None if there are fewer or the fine-tuned task is unknown or not evaluated.

    If `finetuned_on` is None, it is the only task of the quadrant `idt_idi`.
    """
    task = finetuned_on or _in_distribution(pairs[0][1])
    if len(pairs) < 2 or task is None or any(_task(comparison, task) is None for _, comparison in pairs):
        return None
    recipes = tuple(dict.fromkeys(candidate.recipe for candidate, _ in pairs))
    names = _shared(pairs, lambda comparison: [group.name for group in comparison.quadrants])
    find: Callable[[Comparison, str], Scores | None] = _quadrant
    if len(names) < 2:
        names = _shared(pairs, lambda comparison: [entry.task for entry in comparison.tasks if entry.scores])
        names, find = [name for name in names if name != task], _task
    across = {name: [_curve(recipe, name, task, pairs, find) for recipe in recipes] for name in names}
    places = [model[1] for curves in across.values() for curve in curves for model in curve]
    x = make_axis([end for place in places for end in place.ends], least=LEAST_SPAN, within=(0, 100), ticks=5)
    panels = tuple(_panel(name, task, across[name], recipes, x, _members(pairs[0][1], name)) for name in names)
    return Traces(task, recipes, panels) if panels else None


def _curve(
    recipe: str,
    name: str,
    task: str,
    pairs: Sequence[tuple[Candidate, Comparison]],
    find: Callable[[Comparison, str], Scores | None],
) -> list[_Model]:
    """Return a recipe's models, the base first, with their accuracy on the fine-tuned task and in the panel."""
    own = [(candidate, comparison) for candidate, comparison in pairs if candidate.recipe == recipe]
    own.sort(key=lambda pair: (pair[0].step is None, pair[0].step or 0))
    models: list[_Model] = []
    for candidate, comparison in own:
        across, up = _task(comparison, task), find(comparison, name)
        if across is None or up is None:
            continue
        if not models:
            models.append(("base", across.base, up.base))
        models.append((candidate.label, across.candidate, up.candidate))
    return models


def _panel(
    name: str, task: str, curves: list[list[_Model]], recipes: tuple[str, ...], x: Axis, tasks: tuple[str, ...]
) -> Panel:
    values = [end for curve in curves for model in curve for end in model[2].ends]
    y = make_axis(values, least=LEAST_SPAN, within=(0, 100), ticks=5)
    panel = Panel(name, tasks, x, y, ())

    def point(model: _Model) -> Point:
        label, across, up = model
        said = f"{label}: {with_bounds(across)} on {task}, {with_bounds(up)} here"
        return Point(label, across, up, x(across.estimate or 0.0), panel.up(up.estimate or 0.0), said=said)

    drawn = [
        Curve(recipe, index, tuple(point(model) for model in models))
        for index, (recipe, models) in enumerate(zip(recipes, curves, strict=True))
        if models
    ]
    return Panel(name, tasks, x, y, tuple(_apart(drawn)))


def _apart(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves with a layer for each mark and line, so that none hides another; all bases come first."""
    bases = list(dict.fromkeys((curve.points[0].x, curve.points[0].y) for curve in curves))
    checkpoints = [point for curve in curves for point in curve.points[1:]]
    places = [pixels(*place) for place in (*bases, *((point.x, point.y) for point in checkpoints))]
    marks = layers(places)
    lines = [
        (*pixels(start.x, start.y), *pixels(end.x, end.y)) for curve in curves for start, end in pairwise(curve.points)
    ]
    dashes = iter(layers(lines))
    around = list(zip(marks, bearings(places, marks), strict=True))
    first = dict(zip(bases, around, strict=False))
    rings = iter(around[len(bases) :])
    shown = []
    for curve in curves:
        base, *others = curve.points
        ring, bearing = first.pop((base.x, base.y), (None, 0))
        layered = [replace(base, ring=ring, bearing=bearing)]
        for point in others:
            ring, bearing = next(rings)
            layered.append(replace(point, ring=ring, bearing=bearing, dash=next(dashes)))
        shown.append(replace(curve, points=tuple(layered)))
    return shown


def _in_distribution(comparison: Comparison) -> str | None:
    group = next((group for group in comparison.quadrants if group.name == "idt_idi"), None)
    return group.tasks[0] if group and len(group.tasks) == 1 else None


def _task(comparison: Comparison, name: str) -> Scores | None:
    return next((task.scores for task in comparison.tasks if task.task == name), None)


def _quadrant(comparison: Comparison, name: str) -> Scores | None:
    return next((group.scores for group in comparison.quadrants if group.name == name), None)


def _members(comparison: Comparison, name: str) -> tuple[str, ...]:
    return next((group.tasks for group in comparison.quadrants if group.name == name), (name,))


def _shared(pairs: Sequence[tuple[Candidate, Comparison]], names: Callable[[Comparison], list[str]]) -> list[str]:
    """Return the names that every comparison has, in the first one's order."""
    others = [set(names(comparison)) for _, comparison in pairs[1:]]
    return [name for name in names(pairs[0][1]) if all(name in other for other in others)]
