"""What holds a model near its base: each way's learned and forgotten on the small model, beside published figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from leaderboards.published import read_publications
from leaderboards.report.text import bounds, number
from tools.evidence.results import BASE, Model, Results

NOTHING, REPLAY = "llm-high", "hybrid-30"
"""The runs of the matrix that belong here: nothing holds the first, the second mixes in other data."""


def section(results: Results, settings: Mapping[str, Any]) -> str:
    """Return the section: a row for each way that was run, then the published rows."""
    ways = [NOTHING, REPLAY, *settings["runs"]["remedies"]["each"]]
    there = [way for way in ways if results.there(Model(BASE), Model(way))]
    missing = [way for way in ways[2:] if way not in there]
    parts = ["## Remedies {#remedies}", _INTRODUCTION]
    if there:
        rows = [
            "| run | learned, points | 95 % interval | forgotten, points | 95 % interval |",
            "|---|---|---|---|---|",
        ]
        parts.append("\n".join([*rows, *(_row(results, settings["matrix"], way) for way in there)]))
    if missing:
        parts.append(f"Not run: {', '.join(missing)}.")
    return "\n\n".join([*parts, *_published()])


_INTRODUCTION = (
    "The language model at the high rate, held near the base in several ways. Learned: points gained on the new task; "
    "forgotten: points lost in the mean of the other quadrants' tasks, each paired by document with the base. On the "
    "demo's model every way was run with five seeds: [the table](tutorials/rescue.md#hold-it-down-while-it-learns)."
)


def _row(results: Results, matrix: Mapping[str, list[str]], way: str) -> str:
    others = [task for quadrant, tasks in matrix.items() if quadrant != "idt_idi" for task in tasks]
    learned = results.more(Model(way), Model(BASE), matrix["idt_idi"])
    forgotten = results.more(Model(BASE), Model(way), others)
    cells = (way, number(learned.estimate), bounds(learned), number(forgotten.estimate), bounds(forgotten))
    return f"| {' | '.join(cells)} |"


def _published() -> Iterator[str]:
    for paper in read_publications():
        if paper.changes:
            yield f"Published, of other models and tasks ([{paper.title}]({paper.url})). {paper.note}"
            rows = [f"| {one.trained} | {one.learned:+.1f} | {one.held_out:+.1f} |" for one in paper.changes]
            yield "\n".join(["| trained | learned, points | held out, points |", "|---|---|---|", *rows])
