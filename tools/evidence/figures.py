"""The page's figures, in the papers' form: SVG by matplotlib, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from leaderboards.statistics import Interval
from tools.evidence.claims import EMT, NAMED, Matrix
from tools.evidence.results import BASE, ENCODER, Model, Results

QUADRANTS = {
    "idt_oodi": "same question, other images",
    "oodt_idi": "other questions, same images",
    "oodt_oodi": "other questions, other images",
}
GRID = {"projector-low": "projector, low", "projector-high": "projector, high", "llm-low": "LLM, low",
        "llm-high": "LLM, high", "full-low": "full, low", "full-high": "full, high"}  # fmt: skip
WAYS = {"linear": "projector", "gentle": "projector, rate / 10", "lora": "LoRA"}
SHARES = {"llm-high": 0, "hybrid-10": 10, "hybrid-30": 30, "hybrid-70": 70}
_COLOURS = ("#2457c5", "#d1492e", "#17703f", "#9a4fb5", "#b07400", "#1f7a8c")
_STYLE = Path(__file__).with_suffix(".mplstyle")
_BASE = Model(BASE)


@dataclass(frozen=True, slots=True)
class Point:
    """Something named, with two intervals."""

    name: str
    across: Interval
    up: Interval


def draw_points(points: Sequence[Point], file: Path, *, across: str, up: str) -> None:
    """Draw what was learned against what was forgotten, the least forgotten on top, with intervals; the base at 0."""
    _drawn(file, partial(_points, points, across, up))


def draw(results: Results, matrix: Matrix, folder: Path) -> dict[str, str]:
    """Draw every figure whose runs are there; return the file names by claim."""
    figures: dict[str, tuple[str, Sequence[Model], Callable[[Results, Matrix, Any], None]]] = {
        "a": ("encoder", [Model(ENCODER)], _encoder),
        "c": ("epochs", [Model(f"emt-{how}-{data}") for how in WAYS for data in ("cifar10", "mnist")], _epochs),
        "f": ("matrix", [Model("full-high"), Model("full-low")], _matrix),
        "h": ("distractor", [Model("llm-low")], _distractor),
        "i": ("hybrid", [Model("llm-high"), Model("hybrid-70")], _hybrid),
    }  # fmt: skip
    return {claim: _drawn(folder / f"{name}.svg", partial(function, results, matrix))
            for claim, (name, models, function) in figures.items() if results.there(*models)}  # fmt: skip


def _drawn(file: Path, function: Callable[[Any], None]) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    with pyplot.style.context(_STYLE):
        figure = pyplot.figure(layout="constrained")
        function(figure)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        pyplot.close(figure)
    return file.name


def _encoder(results: Results, _matrix: Matrix, figure: Any) -> None:
    figure.set_size_inches(5, 2.8)
    _bars(figure.subplots(), [NAMED[task] for task in EMT], {
        "the vision encoder": [results.mean(Model(ENCODER), task) for task in EMT],
        "the model": [results.mean(_BASE, task) for task in EMT],
    })  # fmt: skip


def _epochs(results: Results, _matrix: Matrix, figure: Any) -> None:
    """Figures 6 and 7 of the paper: accuracy after each epoch."""
    figure.set_size_inches(8, 5.2)
    panels = [(how, data) for data in ("cifar10", "mnist") for how in WAYS]
    for axes, (how, data) in zip(figure.subplots(2, len(WAYS), sharey=True).flat, panels, strict=True):
        steps = results.steps(f"emt-{how}-{data}")
        epochs = [0.0, *(3 * step / steps[-1] for step in steps)]
        models = [_BASE, *(Model(f"emt-{how}-{data}", number) for number in range(len(steps)))]
        for task in EMT:
            axes.plot(epochs, [results.mean(model, task) for model in models], marker="o", ms=4, label=NAMED[task])
        axes.set(title=f"{NAMED[f'emt_{data}']}: {WAYS[how]}", xlabel="epoch", xticks=range(4), ylim=(-2, 102))
    figure.axes[0].set_ylabel("correct, %")
    figure.axes[0].legend(fontsize=8)


def _matrix(results: Results, matrix: Matrix, figure: Any) -> None:
    """Figure 2 of the paper: the new task to the right, what was known before up."""
    figure.set_size_inches(8, 3.2)
    for axes, (quadrant, title) in zip(figure.subplots(1, 3, sharey=True), QUADRANTS.items(), strict=True):
        start = _point(results, matrix, _BASE, quadrant)
        for number, (name, shown) in enumerate(GRID.items()):
            if not results.there(Model(name)):
                continue
            end = _point(results, matrix, Model(name), quadrant)
            marker = "osD"[number // 2]
            filled = "full" if number % 2 else "none"
            axes.plot(*zip(start, end, strict=True), marker=marker, markevery=[1], fillstyle=filled, ms=6, lw=1,
                      color=_COLOURS[number // 2], label=shown)  # fmt: skip
        axes.plot(*start, marker="*", ms=11, color="black", ls="", label="before")
        axes.set(title=title, xlabel="new task, %", ylim=(-2, 102))
    figure.axes[0].set_ylabel("correct, %")
    figure.axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _distractor(results: Results, _matrix: Matrix, figure: Any) -> None:
    """Figure 3 of the paper: with and without the class name among the options, before and after."""
    figure.set_size_inches(5, 2.8)
    plain, distractor = "evidence_kinds", "evidence_kinds_distractor"
    models = {"before": _BASE, "after": Model("llm-low")}
    _bars(figure.subplots(), ["without class name", "with class name", "class name chosen"], {
        when: [results.mean(model, plain), results.mean(model, distractor),
               results.mean(model, distractor, "class name chosen")]
        for when, model in models.items()
    })  # fmt: skip


def _hybrid(results: Results, matrix: Matrix, figure: Any) -> None:
    """Figure 4 of the paper: the share of other data, from none to most."""
    figure.set_size_inches(4.5, 3.2)
    axes = figure.subplots()
    shares = {name: share for name, share in SHARES.items() if results.there(Model(name))}
    points = [_point(results, matrix, Model(name), "oodt_idi") for name in shares]
    axes.plot(*zip(*points, strict=True), color=_COLOURS[0], lw=1)
    for size, (point, share) in enumerate(zip(points, shares.values(), strict=True), start=1):
        axes.plot(*point, marker="o", ms=4 + 2 * size, color=_COLOURS[0], alpha=0.4 + 0.15 * size)
        axes.annotate(f"{share} %", point, textcoords="offset points", xytext=(8, 4))
    start = _point(results, matrix, _BASE, "oodt_idi")
    axes.plot(*start, marker="*", ms=11, color="black", ls="")
    axes.annotate("before", start, textcoords="offset points", xytext=(8, -4))
    axes.set(xlabel="new task, %", ylabel="other questions, same images, %")


def _points(points: Sequence[Point], across: str, up: str, figure: Any) -> None:
    figure.set_size_inches(8, 4.2)
    axes = figure.subplots()
    axes.plot(0, 0, marker="*", ms=11, color="black", ls="", label="before")
    for number, point in enumerate(points):
        spans = [_span(found) for found in (point.across, point.up)]
        axes.errorbar(point.across.estimate, point.up.estimate, xerr=spans[0], yerr=spans[1], ls="", ms=6, lw=0.8,
                      marker="osD^"[number // len(_COLOURS)], color=_COLOURS[number % len(_COLOURS)],
                      label=point.name)  # fmt: skip
    axes.set(xlabel=across, ylabel=up)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _span(found: Interval) -> list[list[float]] | None:
    """How far an interval goes below and above its estimate, as matplotlib wants it."""
    if found.estimate is None or found.lower is None or found.upper is None:
        return None
    return [[found.estimate - found.lower], [found.upper - found.estimate]]


def _point(results: Results, matrix: Matrix, model: Model, quadrant: str) -> tuple[float, float]:
    def mean(name: str) -> float:
        return sum(results.mean(model, task) for task in matrix[name]) / len(matrix[name])

    return mean("idt_idi"), mean(quadrant)


def _bars(axes: Any, places: Sequence[str], groups: Mapping[str, Sequence[float]]) -> None:
    width = 0.8 / len(groups)
    for number, (label, values) in enumerate(groups.items()):
        bars = axes.bar([place + (number - (len(groups) - 1) / 2) * width for place in range(len(places))], values,
                        width, label=label)  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set(xticks=range(len(places)), xticklabels=places, ylabel="%", ylim=(0, 109))
    axes.legend(fontsize=8)
