"""Which metric a task is compared by: one that every sample logs, and whose better direction somebody has stated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from emt_core.errors import UserError
from emt_core.runs import Task
from leaderboards.comparison.objects import has_score, score_of

Direction = Literal["higher", "lower"]

_RANGE = re.compile(r"(?P<name>.+?):(?P<low>-?\d+(?:\.\d+)?)\.\.(?P<high>-?\d+(?:\.\d+)?)")

_SHOWN = 8
"""Metrics, or numbers of samples, that an error lists."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A task's metric: its value is the score; better when lower, it is turned into 1 − value.

    `names` are the fields of a sample; where there are several, each sample logs one of them, and that is its score.
    `stated` says whether the run itself names the direction. `values` is the range of values that the user states;
    None: 0 to 1, or where a value lies outside, what the values range over.
    """

    names: tuple[str, ...]
    direction: Direction
    stated: bool
    values: tuple[float, float] | None = None

    @property
    def scores(self) -> tuple[float, float] | None:
        """The range of scores that is stated."""
        if self.values is None or self.direction == "higher":
            return self.values
        return 1 - self.values[1], 1 - self.values[0]

    def __str__(self) -> str:
        """The metric as `--metric TASK=NAME` takes it."""
        name = "+".join(self.names)
        plain = self.stated and self.direction == "higher" and not name.endswith((":higher", ":lower"))
        values = f":{self.values[0]:g}..{self.values[1]:g}" if self.values else ""
        return (name if plain else f"{name}:{self.direction}") + values

    def score(self, sample: Mapping[str, Any], score_key: str) -> float | None:
        """Return a sample's score; None where it logs none."""
        found = [value for name in self.names if (value := logged(sample, name, score_key)) is not None]
        if len(found) != 1 or found[0] != found[0]:
            return None
        return 1 - float(found[0]) if self.direction == "lower" else float(found[0])


def label(metric: str) -> str:
    """Return a metric as a reader sees it: `1 − wer` for `wer:lower`."""
    metric = _without_range(metric)[0]
    name, _, direction = metric.rpartition(":")
    return {"lower": f"1 − {name}", "higher": name}.get(direction, metric)


def score_key(task: Task) -> str:
    """Return the key of the score in a metric that is logged as an object."""
    return str(task.config.get("score_key") or "score")


def logged(sample: Mapping[str, Any], name: str, key: str) -> Any:
    """Return what a sample logs under a metric's name; of an object, its score."""
    value = sample.get(name)
    return score_of(value, key) if isinstance(value, dict) else value


@dataclass(slots=True)
class Survey:
    """How a task's samples log its metrics.

    `samples` counts those that a judge did not leave unscored, `scores` each metric's values among them; `plain` are
    the metrics logged as bare numbers, `faults` says why a metric is no score, `wide` are those with values below 0 or
    above 1. `together` counts the sets of metrics that a sample logs.
    """

    samples: int = 0
    scores: Counter[str] = field(default_factory=Counter)
    plain: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    wide: set[str] = field(default_factory=set)
    together: Counter[tuple[str, ...]] = field(default_factory=Counter)


def survey(task: Task, rows: Iterable[Mapping[str, Any]]) -> Survey:
    """See how samples log a task's metrics; a judge's unscored samples log them as null."""
    key, found, pending = score_key(task), Survey(plain=set(task.metrics)), None
    for row in rows:
        verdict = row.get("verdict")
        if isinstance(verdict, dict) and verdict.get("category") == "unscored":
            names = {name for name in task.metrics if name in row}
            pending = names if pending is None else pending & names
            continue
        found.samples += 1
        present = []
        for name in task.metrics:
            value = logged(row, name, key)
            if isinstance(row.get(name), dict) and not has_score(row[name], key):
                found.faults.setdefault(name, f"{name!r} is an object without {key!r} for doc_id {row.get('doc_id')}")
            if value is None:
                continue
            present.append(name)
            if isinstance(row[name], bool) or not isinstance(row[name], int | float):
                found.plain.discard(name)
            if name not in found.faults and not _is_score(value):
                shown = f"{value!r:.40}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
                found.faults[name] = f"{name!r} is {shown} for doc_id {row.get('doc_id')}, expected a number"
            elif name not in found.faults and not 0 <= value <= 1 and value == value:
                found.wide.add(name)
        found.scores.update(present)
        found.together[tuple(present)] += 1
    if not found.samples and pending:  # a judge that has scored nothing yet
        found.scores.update(pending)
    return found


def _is_score(value: Any) -> bool:
    return isinstance(value, bool | int | float) and (value != value or abs(value) < 2**1000)


def choose(task: Task, found: Survey, wanted: str | None) -> Metric:
    """Return the metric asked for, or the one that every sample logs.

    Of several the first that is better when higher, then the first that is better when lower; those from 0 to 1 before
    all others. Where each sample logs one of several, as the halves of MME, they are one metric: a sample's score is
    the one that it logs.

    Raises:
        UserError: there is no such metric, or nobody says whether it is better when higher or lower.
    """
    usable = [name for name in task.metrics if found.scores[name] and name not in found.faults]
    if not usable:
        why = _list(list(found.faults.values()), "; ") or (
            f"no sample has {' or '.join(task.metrics[:_SHOWN])}"
            if task.metrics
            else "the run has no metric at all: judge its answers with emt judge, or leave the task out"
        )
        raise UserError(f"{task.shown}: no metric is logged for each sample as a number ({why})")
    if wanted is not None:
        return _checked(task, found, usable, wanted)
    usable = [name for name in usable if name not in found.wide] or usable
    everywhere = [name for name in usable if found.scores[name] == found.samples or not found.samples]
    for direction in (True, False):
        for name in everywhere:
            if task.higher_is_better.get(name) is direction:
                return _directed(task, (name,))
    if everywhere or len(usable) == 1:
        return _directed(task, tuple((everywhere or usable)[:1]))
    if set(map(len, found.together)) == {1}:
        return _directed(task, tuple(name for (name,) in sorted(found.together, key=lambda one: usable.index(one[0]))))
    counts = [f"{name} {found.scores[name]}" for name in usable]
    raise UserError(
        f"{task.shown}: no metric is logged by each of the {found.samples} samples ({_list(counts)}): "
        f"choose one with --metric {task.name}=NAME"
    )


def parse(task: Task, metric: str) -> Metric:
    """Return a metric from its text, as `--metric TASK=NAME` takes it.

    Raises:
        UserError: nobody says whether it is better when higher or lower.
    """
    return _directed(task, *_split(task, metric))


def _without_range(metric: str) -> tuple[str, tuple[float, float] | None]:
    found = _RANGE.fullmatch(metric)
    return (found["name"], (float(found["low"]), float(found["high"]))) if found else (metric, None)


def _split(task: Task, metric: str) -> tuple[tuple[str, ...], Direction | None, tuple[float, float] | None]:
    text, values = _without_range(metric)
    if values is not None and not values[0] < values[1]:
        raise UserError(f"--metric {task.name}={metric}: expected a range LOW..HIGH with LOW below HIGH")
    metric = text
    name, _, end = metric.rpartition(":")
    direction: Direction | None = "higher" if end == "higher" else "lower" if end == "lower" else None
    parts = (name if direction else metric).split("+")
    names = []
    while parts:  # a metric's own name may hold a plus too: the longest that is one
        end_of_name = next((n for n in range(len(parts), 1, -1) if "+".join(parts[:n]) in task.metrics), 1)
        names.append("+".join(parts[:end_of_name]))
        parts = parts[end_of_name:]
    return tuple(names), direction, values


def _checked(task: Task, found: Survey, usable: Sequence[str], wanted: str) -> Metric:
    names, direction, values = _split(task, wanted)
    for name in names:
        if name not in usable:
            why = found.faults.get(name, "not a per-sample number")
            raise UserError(f"--metric {task.name}={wanted}: {why}; it has {_list(usable)}")
    if len(names) > 1 and any(len(set(names).intersection(some)) > 1 for some in found.together):
        raise UserError(f"--metric {task.name}={wanted}: some samples log more than one of these; choose one of them")
    return _directed(task, names, direction, values)


def _directed(
    task: Task,
    names: tuple[str, ...],
    direction: Direction | None = None,
    values: tuple[float, float] | None = None,
) -> Metric:
    known = {task.higher_is_better.get(name) for name in names}
    stated: Direction | None = "higher" if known == {True} else "lower" if known == {False} else None
    chosen = direction or stated
    if chosen is None:
        name = "+".join(names)
        raise UserError(
            f"{task.shown}: the run does not say whether {name} is better when higher or lower: say it with "
            f"--metric {task.name}={name}:higher or {name}:lower"
        )
    return Metric(names, chosen, stated == chosen, values)


def _list(names: Sequence[str], separator: str = ", ") -> str:
    return separator.join(names[:_SHOWN]) + (f"{separator}…" if len(names) > _SHOWN else "")
