"""The looks at a candidate in training as charts: accuracy, and KL from the base, against steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from leaderboards.comparison.training import Seen, Training
from leaderboards.report.charts import Axis, make_axis
from leaderboards.report.overlaps import bearings, layers, pixels
from leaderboards.report.text import listed, number, with_bounds
from leaderboards.report.traces import LEAST_SPAN, Curve, Panel, Point
from leaderboards.statistics import Interval, wilson_interval

MOST = 20
"""Looks that a chart shows: more marks would hide each other on a phone."""


@dataclass(frozen=True, slots=True)
class LookRow:
    """One task at one step, as the table has it: percent and points, nats, differences of probabilities."""

    step: int
    task: str
    accuracy: Interval
    change: float | None
    kl: float | None
    shift: float | None
    bias: float | None


@dataclass(frozen=True, slots=True)
class Looks:
    """The section: its panels, all numbers, and what is to be said: how many looks, and what the alarm did."""

    tasks: tuple[str, ...]
    learned: str | None
    panels: tuple[Panel, ...]
    rows: tuple[LookRow, ...]
    notes: tuple[str, ...]


def draw_looks(training: Training) -> Looks:
    """Return the section; the tasks are in the log's order, the learned one first."""
    steps = sorted(training.looks)
    names = dict.fromkeys(task for step in steps for task in training.looks[step])
    tasks = tuple(sorted(names, key=lambda task: task != training.learned))
    shown = _thinned(steps)
    ends = make_axis([0.0, float(steps[-1])], ticks=5)
    accuracy = {task: _curve(training, shown, task, _accuracy) for task in tasks}
    kl = {task: _curve(training, shown, task, lambda seen: _exactly(seen.kl)) for task in tasks}
    bounds = [value for points in accuracy.values() for _, each in points for value in each.ends]
    known = [value for points in kl.values() for _, each in points for value in each.ends]
    panels = [_panel("accuracy, %", accuracy, ends, make_axis(bounds, least=LEAST_SPAN, within=(0, 100), ticks=5), 1)]
    if known:
        axis = make_axis(known, include=[0.0], least=0.05, within=(0.0, max(*known, 1.0)), ticks=5)
        panels.append(_panel("KL from the base, nats", kl, ends, axis, 3))
    return Looks(tasks, training.learned, tuple(panels), tuple(_rows(training, tasks)), tuple(_notes(training, shown)))


def _thinned(steps: Sequence[int]) -> list[int]:
    """Return the steps that are drawn, evenly spread; the first and the last among them."""
    if len(steps) <= MOST:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (MOST - 1))] for place in range(MOST)]


def _curve(
    training: Training, steps: Sequence[int], task: str, value: Callable[[Seen], Interval | None]
) -> list[tuple[int, Interval]]:
    found = ((step, training.looks[step].get(task)) for step in steps)
    values = ((step, value(seen)) for step, seen in found if seen)
    return [(step, each) for step, each in values if each is not None]


def _accuracy(seen: Seen) -> Interval | None:
    """Return an accuracy in percent, with Wilson's interval where it counts right answers."""
    if seen.accuracy is None:
        return None
    right = seen.accuracy * seen.documents
    if not seen.documents or abs(right - round(right)) > 1e-6:
        return _exactly(100 * seen.accuracy)
    return wilson_interval(round(right), seen.documents).scaled(100)


def _exactly(value: float | None) -> Interval | None:
    """Return a number of which no interval is known."""
    return None if value is None else Interval(value, None, None, 0, 0.95, "")


def _panel(name: str, values: Mapping[str, list[tuple[int, Interval]]], x: Axis, y: Axis, digits: int) -> Panel:
    panel = Panel(name, (), x, y, ())
    curves = []
    for index, (task, points) in enumerate(values.items()):
        drawn = tuple(
            Point(
                task,
                _step(step),
                each,
                x(step),
                panel.up(each.estimate or 0.0),
                said=_said(task, step, each, name, digits),
            )
            for step, each in points
        )
        if drawn:
            curves.append(Curve(task, index, drawn))
    return replace(panel, curves=tuple(_apart(curves)))


def _step(step: int) -> Interval:
    return Interval(float(step), None, None, 0, 0.95, "")


def _said(task: str, step: int, value: Interval, name: str, digits: int) -> str:
    what, _, unit = name.partition(", ")
    told = number(value.estimate, digits) if value.lower is None else with_bounds(value, digits)
    return f"{task}, {f'step {step}' if step else 'the base'}: {what} {told} {unit}"


def _apart(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves with a layer for each mark and line, so that no task hides another at the same step.

    The base is one model: on one spot it has one mark.
    """
    by_step: dict[float | None, list[tuple[int, int]]] = {}
    for row, curve in enumerate(curves):
        for place, point in enumerate(curve.points):
            by_step.setdefault(point.across.estimate, []).append((row, place))
    marks: dict[tuple[int, int], tuple[int | None, int]] = {}
    dashes: dict[tuple[int, int], int] = {}
    for step, here in by_step.items():
        spots = [pixels(curves[row].points[place].x, curves[row].points[place].y) for row, place in here]
        found = layers(spots)
        if step:
            marks |= dict(zip(here, zip(found, bearings(spots, found), strict=True), strict=True))
        else:
            marks |= {key: (None if layer else 0, 0) for key, layer in zip(here, found, strict=True)}
        ending = [(row, place) for row, place in here if place]
        lines = [_line(*curves[row].points[place - 1 : place + 1]) for row, place in ending]
        dashes |= dict(zip(ending, layers(lines), strict=True))
    return [
        replace(
            curve,
            points=tuple(
                replace(
                    point, ring=marks[row, place][0], bearing=marks[row, place][1], dash=dashes.get((row, place), 0)
                )
                for place, point in enumerate(curve.points)
            ),
        )
        for row, curve in enumerate(curves)
    ]


def _line(start: Point, end: Point) -> tuple[float, ...]:
    return (*pixels(start.x, start.y), *pixels(end.x, end.y))


def _rows(training: Training, tasks: Sequence[str]) -> list[LookRow]:
    return [
        LookRow(step, task, accuracy, _change(seen), seen.kl, seen.shift, seen.bias)
        for step in sorted(training.looks)
        for task in tasks
        if (seen := training.looks[step].get(task)) and (accuracy := _accuracy(seen))
    ]


def _change(seen: Seen) -> float | None:
    return None if seen.accuracy is None or seen.base is None else 100 * (seen.accuracy - seen.base)


def _notes(training: Training, shown: Sequence[int]) -> list[str]:
    said = []
    if training.alarm:
        alarm = training.alarm
        then = "training ended there" if alarm.then == "end" else "from there on the learning rate was a tenth"
        are = "was" if len(alarm.tasks) == 1 else "were"
        said.append(
            f"At step {alarm.step} {listed(list(alarm.tasks))} {are} shown to have lost more than {alarm.margin:g} "
            f"points; {then}."
        )
    looks = sum(step > 0 for step in training.looks)
    if len(shown) < len(training.looks):
        said.append(f"{len(shown)} of {len(training.looks)} looks are drawn; the table has all.")
    elif looks == 1:
        said.append("There was one look.")
    if training.unread:
        lines = "A line" if training.unread == 1 else f"{training.unread} lines"
        said.append(f"{lines} of the log could not be read.")
    return said
