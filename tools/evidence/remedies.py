"""The page of remedies: what each way of holding a model near its base learned and kept, beside published figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboards.published import read_publications
from leaderboards.report.text import number, with_bounds
from leaderboards.statistics import Interval
from tools.evidence.figures import Point, draw_points
from tools.evidence.results import BASE, NOTE, Model, Results

GROUP, PAGE = "remedies", "evidence-remedies.md"
SCATTER, FRONTIER = "remedies.svg", "rescue.svg"
_VERDICT = re.compile(r"^.+ of the base.*: keeps .+ of what was learned, .+$", re.MULTILINE)
"""The line that `emt rescue` ends with."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way, in points: gained on the new task, lost in the mean of the others, and how much better than nothing.

    Those of a merge are on the documents that its search did not see.
    """

    name: str
    shown: str
    learned: Interval
    forgotten: Interval
    learned_more: Interval
    forgotten_less: Interval


def write(results: Results, settings: Mapping[str, Any], seeds: int, docs: Path) -> list[Way]:
    """Write the page and its figures to the documentation; return the ways that were run, in its order."""
    group, images = settings["runs"][GROUP], docs / "images" / "evidence"
    ways = list(_ways(results, settings))
    parts = [NOTE, _introduction(seeds), _method(settings["matrix"])]
    if ways:
        points = [Point(way.shown, way.learned, way.forgotten) for way in ways]
        draw_points(points, images / SCATTER, across="new task: points learned", up="other tasks: points forgotten")
        parts += [_table(ways, _nothing(group)), f"![Learned and forgotten, by way](images/evidence/{SCATTER})"]
    run = {way.name for way in ways}
    if missing := [shown for name, shown in group["shown"].items() if name not in run]:
        parts.append(f"Not run: {'; '.join(missing)}.")
    parts += _rescued(results, group["rescued"]["name"], images)
    parts += _published(ways, group["published"])
    if ways:
        parts.append(_all_numbers(results, group, ways))
    docs.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return ways


def _nothing(group: Mapping[str, Any]) -> str:
    """The run that nothing holds, from which a merge is made."""
    return str(group["rescued"]["candidate"])


def _introduction(seeds: int) -> str:
    return f"""# Evidence: remedies

What holds a model near its base while it learns, or brings it back afterwards, on the small real model of the
[evidence](evidence.md). Its language model learns to name CIFAR-10's objects at a high rate, which forgets most of the
rest: once with nothing against it, and once with each remedy of the [tutorial](tutorials/rescue.md), by the shipped
recipes as they are, without tuning. Everything below was written by this command, with {seeds} \
{"seed" if seeds == 1 else "seeds"}; it resumes where it was stopped:

```sh
make evidence DATA=folder LARGE=folder SEEDS={seeds} ONLY={GROUP}
```

It makes the model where it is not there; one that is made anew answers a little differently from the one on the other
page. On the demo's model each way was run with five seeds: [the tutorial's
table](tutorials/rescue.md#hold-it-down-while-it-learns)."""


def _method(matrix: Mapping[str, Sequence[str]]) -> str:
    new, others = _tasks(matrix)
    return (
        "## Learned and forgotten {#learned-and-forgotten}\n\n"
        f"Learned: points gained on {', '.join(new)}. Forgotten: points lost in the mean of the other quadrants' tasks "
        f"({', '.join(others)}). Both against the base, with the 95 % interval, paired by document; the last two "
        "columns are against nothing, paired in the same way. The intervals are about other documents, not about other "
        "seeds. What `emt rescue` chose is measured on the documents that its search did not see."
    )


def _tasks(matrix: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """The new task, and the others."""
    others = [task for quadrant, tasks in matrix.items() if quadrant != "idt_idi" for task in tasks]
    return list(matrix["idt_idi"]), others


def _ways(results: Results, settings: Mapping[str, Any]) -> Iterator[Way]:
    group = settings["runs"][GROUP]
    new, others = _tasks(settings["matrix"])
    base, nothing = Model(BASE), Model(_nothing(group))
    for name, shown in group["shown"].items():
        way = Model(name)
        if not results.there(base, nothing, way):
            continue
        seen = results.searched(way)
        yield Way(
            name,
            shown,
            learned=results.more(way, base, new, without=seen),
            forgotten=results.more(base, way, others, without=seen),
            learned_more=results.more(way, nothing, new, without=seen),
            forgotten_less=results.more(way, nothing, others, without=seen),
        )


def _table(ways: Sequence[Way], nothing: str) -> str:
    rows = ["| way | learned | forgotten | learned more than with nothing | forgotten less |", "|---" * 5 + "|"]
    for way in ways:
        against = ["", ""] if way.name == nothing else map(with_bounds, (way.learned_more, way.forgotten_less))
        rows.append(_row(way.shown, with_bounds(way.learned), with_bounds(way.forgotten), *against))
    return "\n".join(rows)


def _rescued(results: Results, name: str, images: Path) -> Iterator[str]:
    """Say what `emt rescue` said of the first seed, and show the merges that it tried."""
    folder = results.folder / f"{name}-0"
    if not results.there(Model(name)) or not folder.is_dir():
        return
    yield "## Merged with its base afterwards {#rescued}"
    said = _VERDICT.findall(folder.with_suffix(".log").read_text(encoding="utf-8"))
    yield f"`emt rescue` on what nothing held, of the first seed:\n\n```text\n{said[-1].strip()}\n```"
    images.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "frontier.svg", images / FRONTIER)
    yield f"![Learned against kept, of all merges that were tried](images/evidence/{FRONTIER})"


def _published(ways: Sequence[Way], alike: Mapping[str, str]) -> Iterator[str]:
    """Set the published changes beside the ways that train the same parts."""
    here = {alike[way.name]: way for way in ways if way.name in alike}
    yield "## Beside published figures {#published}"
    for paper in read_publications():
        if paper.changes:
            yield f"[{paper.title}]({paper.url}). {paper.note} Of other models and tasks: compare the order."
            rows = ["| trained | learned | held out | here: learned | here: other tasks |", "|---" * 5 + "|"]
            for change in paper.changes:
                way = here.get(change.trained)
                own = (_signed(way.learned.estimate), _signed(way.forgotten.estimate, -1)) if way else ("not run",) * 2
                rows.append(_row(change.trained, _signed(change.learned), _signed(change.held_out), *own))
            yield "\n".join(rows)


def _signed(points: float | None, sign: int = 1) -> str:
    """A change in points, with its sign."""
    shown = number(None if points is None else sign * points)
    return shown if shown[0] in "−–" else f"+{shown}"


def _all_numbers(results: Results, group: Mapping[str, Any], ways: Sequence[Way]) -> str:
    """The accuracy of the base and of every run, task by task, on all documents."""
    rows = [_row("model", *group["tasks"]), "|---" * (len(group["tasks"]) + 1) + "|"]
    for name, shown in {BASE: BASE, **{way.name: f"{way.shown} ({way.name})" for way in ways}}.items():
        rows.append(_row(shown, *(f"{results.mean(Model(name), task):.1f}" for task in group["tasks"])))
    told = "Percent correct, on all documents; in brackets the run's name in `tools/evidence/evidence.yaml`."
    return f"## All numbers {{#all-numbers}}\n\n{told}\n\n" + "\n".join(rows)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
