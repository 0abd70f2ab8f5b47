"""Intervals one below the other, as a picture: SVG for pages, notebooks and repositories, characters for anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leaderboards.comparison.forgetting import Comparison
from leaderboards.comparison.scales import POINTS
from leaderboards.comparison.summary import RunSummary
from leaderboards.gate.decide import GateResult
from leaderboards.report.charts import Axis, forgetting_in, make_axis
from leaderboards.report.rendering import render
from leaderboards.report.text import printable, with_bounds
from leaderboards.statistics import Interval

MARKS = {"not inferior": "✓", "forgetting": "✗", "undecided": "?", "": " "}
"""What stands before a row in characters, by its verdict."""

_COLUMNS = 44
"""Characters from the axis's one end to the other."""

_LONGEST = 28
"""Characters of a name that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row: a name, a number with its interval, and where a limit and a verdict are, if there are any."""

    name: str
    value: Interval | None
    margin: float | None = None
    verdict: str = ""

    @property
    def label(self) -> str:
        """The name as it is shown: in one line, and cut if it is long."""
        name = " ".join(printable(self.name).split())
        return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows on one axis; `title` says what the axis shows, `zero` whether a line marks zero."""

    title: str
    lines: tuple[Line, ...]
    axis: Axis
    zero: bool = True


def of_gate(result: GateResult) -> Forest:
    """Return the forgetting of each task and quadrant, with the bounds that decide.

    Unlike units share no axis: where there are several, only those of one are drawn, of percentage points if there are.
    """
    unit = _one_unit(unit.unit for unit in result.units)
    lines = tuple(Line(one.name, one.drop, one.margin, one.outcome) for one in result.units if one.unit == unit)
    return Forest(forgetting_in(unit), lines, _axis(lines, 0.0))


def of_comparison(comparison: Comparison) -> Forest:
    """Return the forgetting of each task, and of each quadrant of several tasks, with 95 % intervals.

    Of several units only one is drawn, as in `of_gate`.
    """
    groups = [(group.name, group.scores, group.scale) for group in comparison.quadrants if len(group.tasks) > 1]
    compared = [(task.task, task.scores, task.scale) for task in comparison.tasks] + groups
    unit = _one_unit(scale.unit for _, _, scale in compared)
    lines = tuple(
        Line(name, scores.forgetting if scores else None) for name, scores, scale in compared if scale.unit == unit
    )
    return Forest(forgetting_in(unit), lines, _axis(lines, 0.0))


def _one_unit(units: Iterable[str]) -> str:
    found = list(units)
    return POINTS.unit if POINTS.unit in found or not found else found[0]


def of_run(summary: RunSummary) -> Forest:
    """Return the accuracy of each task and quadrant, with 95 % intervals."""
    lines = (
        *(Line(task.task.name, task.accuracy) for task in summary.tasks),
        *(Line(group.name, group.accuracy) for group in summary.quadrants if len(group.tasks) > 1),
    )
    return Forest("accuracy, percent", lines, _axis(lines, 0.0, 100.0), zero=False)


def as_svg(forest: Forest, *, standalone: bool = True) -> str:
    """Return the picture as SVG; one that is not `standalone` takes the colours of the page that it is put into."""
    return render("forest.svg", {"forest": forest, "standalone": standalone, "row": 44, "side": 16, "width": 448})


def as_text(forest: Forest) -> str:
    """Return the picture in characters of one width: a row for each line, then the axis."""
    names = [line.label for line in forest.lines]
    values = [with_bounds(line.value) for line in forest.lines]
    name_width, value_width = (max(map(len, texts), default=0) for texts in (names, values))
    rows = [
        f"{MARKS.get(line.verdict, ' ')} {name:<{name_width}}  {value:>{value_width}}  {_strip(line, forest)}".rstrip()
        for line, name, value in zip(forest.lines, names, values, strict=True)
    ]
    return "\n".join([*rows, *_scale(forest, name_width + value_width + 6)])


def _strip(line: Line, forest: Forest) -> str:
    cells = [" "] * (_COLUMNS + 1)
    if forest.zero:
        cells[_column(0.0, forest.axis)] = "│"
    if line.margin is not None:
        cells[_column(line.margin, forest.axis)] = "┊"
    value = line.value
    if value is not None and value.lower is not None and value.upper is not None:
        for column in range(_column(value.lower, forest.axis), _column(value.upper, forest.axis) + 1):
            cells[column] = "━"
    if value is not None and value.estimate is not None:
        cells[_column(value.estimate, forest.axis)] = "●"
    return "".join(cells)


def _scale(forest: Forest, indent: int) -> list[str]:
    line, labels = ["─"] * (_COLUMNS + 1), [" "] * (_COLUMNS + 9)
    for tick in forest.axis.ticks:
        column, text = _column(tick, forest.axis), forest.axis.text(tick)
        line[column] = "┴"
        start = max(0, column - len(text) // 2)
        labels[start : start + len(text)] = text
    return [
        " " * indent + "".join(line),
        (" " * indent + "".join(labels)).rstrip(),
        " " * indent + forest.title,
    ]


def _column(value: float, axis: Axis) -> int:
    return round(axis(value) / 100 * _COLUMNS)


def _axis(lines: Sequence[Line], *include: float) -> Axis:
    ends = [end for line in lines if line.value for end in line.value.ends]
    margins = [line.margin for line in lines if line.margin is not None]
    return make_axis([*ends, *margins], include=include, least=1.0)
