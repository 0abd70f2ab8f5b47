"""What the report's template needs, from comparisons and the gate's results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from emt_core.runs import Run
from leaderboards.comparison.breakdown import ClassComparison
from leaderboards.comparison.causes import Causes
from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison
from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.comparison.scales import POINTS
from leaderboards.comparison.training import Training
from leaderboards.gate.decide import GateResult
from leaderboards.gate.output import compared_by, in_units, notes
from leaderboards.report.candidates import Candidate
from leaderboards.report.causes import Curve, Why, curves, draw
from leaderboards.report.charts import KINDS, Axis, BarRow, Forest, ForestRow, forest, forests, lost_answers
from leaderboards.report.flips import Answer, Flip
from leaderboards.report.images import Thumbnails
from leaderboards.report.text import packed, printable
from leaderboards.report.traces import HEIGHT, trace
from leaderboards.report.training import Looks, draw_looks
from leaderboards.report.verdict import VerdictText, describe, describe_all
from leaderboards.statistics import Interval

QUADRANT_NAMES = {
    "idt_idi": "ID text × ID image",
    "idt_oodi": "ID text × OOD image",
    "oodt_idi": "OOD text × ID image",
    "oodt_oodi": "OOD text × OOD image",
}

_DEEPEST = 40.0
"""Percentage points of forgetting, or gain, at which the heat map's colour is deepest."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One quadrant of the heat map.

    `change` is what was lost or, if not `lost`, gained, in percentage points; `heat` is its colour's depth
    from 0 to 1.
    """

    quadrant: str
    group: GroupComparison | None
    change: Interval | None
    heat: float
    lost: bool


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One candidate's part of the page."""

    index: int
    label: str
    verdict: VerdictText
    result: GateResult
    cells: tuple[tuple[HeatCell, ...], ...]
    forest: list[ForestRow]
    forest_axis: Axis
    bars: list[BarRow]
    bars_axis: Axis
    why: Why | None
    reliability: tuple[tuple[str, tuple[Curve, ...]], ...]
    looks: Looks | None
    notes: tuple[str, ...]
    compared_by: tuple[str, ...]

    @property
    def comparison(self) -> Comparison:
        """The comparison shown."""
        return self.result.comparison

    @property
    def forests(self) -> list[Forest]:
        """The forest plot, or one for each unit that tasks are scored in."""
        return forests(self.forest)

    @property
    def units(self) -> str | None:
        """What drops are counted in, where that is not percentage points throughout."""
        return in_units(self.result) if any(unit.unit != POINTS.unit for unit in self.result.units) else None

    @property
    def detectable(self) -> dict[str, float | None]:
        """The smallest drop, by task, that would be called forgetting with 80 % power."""
        return {unit.name: unit.detectable for unit in self.result.units if unit.kind == "task"}


FlipReader = Callable[[Comparison, TaskComparison], list[Flip]]


def make_view(
    base: Candidate,
    candidates: Sequence[Candidate],
    results: Sequence[GateResult],
    read_flips: FlipReader,
    *,
    finetuned_on: str | None,
    causes: Sequence[Sequence[Causes]] = (),
    trainings: Sequence[Training | None] = (),
) -> dict[str, Any]:
    """Return the template's context.

    `results` are the candidates' gate results against `base`; `read_flips` reads one task's flipped samples; `causes`
    are each candidate's, where its losses were diagnosed; `trainings` what was seen of each while it was trained.
    """
    compared = list(zip(candidates, results, strict=True))
    known = causes or [()] * len(compared)
    watched = trainings or [None] * len(compared)
    views = [
        _candidate(index, base.label, *pair, why=draw(found), looks=draw_looks(training) if training else None)
        for index, (pair, found, training) in enumerate(zip(compared, known, watched, strict=True))
    ]
    thumbnails = Thumbnails()
    data: dict[str, list[Any]] = {
        "candidates": [candidate.label for candidate in candidates],
        "classes": [_classes(result.comparison) for result in results],
        "flips": [
            _flips(result.comparison, read_flips, thumbnails, found)
            for result, found in zip(results, known, strict=True)
        ],
        "images": thumbnails.uris,
    }
    first = results[0].comparison
    return {
        "title": f"What {candidates[0].label if len(candidates) == 1 else base.label} forgot",
        "base": base,
        "overall": describe_all(results, base.label),
        "candidates": views,
        "runs": [_run(base.label, first.base)]
        + [_run(candidate.label, result.comparison.candidate) for candidate, result in compared]
        + ([_run("encoder", first.encoder)] if first.encoder else []),
        "traces": trace([(candidate, result.comparison) for candidate, result in compared], finetuned_on),
        "trace_height": HEIGHT,
        "quadrant_names": QUADRANT_NAMES,
        "kinds": KINDS,
        "confidence": f"{100 * (1 - results[0].policy.alpha):g}",
        "finetuned_on": finetuned_on,
        "units": next((view.units for view in views if view.units), None),
        "has_classes": any(task for classes in data["classes"] for task in classes),
        "has_causes": any(known),
        "has_flips": any(task["rows"] for flips in data["flips"] for task in flips),
        "data": data,
    }


def _candidate(
    index: int, base: str, candidate: Candidate, result: GateResult, *, why: Why | None, looks: Looks | None
) -> CandidateView:
    rows, forest_axis = forest(result)
    bars, bars_axis = lost_answers(result.comparison.tasks)
    return CandidateView(
        index=index,
        label=candidate.label,
        verdict=describe(result, candidate.label, base),
        result=result,
        cells=_cells(result.comparison),
        forest=rows,
        forest_axis=forest_axis,
        bars=bars,
        bars_axis=bars_axis,
        why=why,
        reliability=tuple(
            (task.task, curves(task.calibration)) for task in result.comparison.tasks if task.calibration
        ),
        looks=looks,
        notes=(*_limits(result.comparison), *notes(result)),
        compared_by=tuple(compared_by(result.comparison)),
    )


def _limits(comparison: Comparison) -> Iterator[str]:
    limit = comparison.base.settings.get("limit")
    if limit is not None:
        part = f"{limit:g} documents" if limit >= 1 else f"{100 * limit:g} % of the documents"
        yield f"both runs were limited to the first {part} of each task"


def _cells(comparison: Comparison) -> tuple[tuple[HeatCell, ...], ...]:
    """Return the heat map's two rows, text in and out of distribution; empty if no quadrant was evaluated."""
    groups = {group.name: group for group in comparison.quadrants}
    if not groups:
        return ()
    cells = []
    for quadrant in QUADRANTS:
        group = groups.get(quadrant)
        drop = group.scores.forgetting if group else None
        estimate = (drop.estimate if drop else None) or 0.0
        change = _turned(drop) if drop and estimate < 0 else drop
        cells.append(HeatCell(quadrant, group, change, round(min(1.0, abs(estimate) / _DEEPEST), 3), estimate > 0))
    return tuple(cells[:2]), tuple(cells[2:])


def _turned(drop: Interval) -> Interval:
    """Return a negative loss as a gain."""
    gain = drop.scaled(-1)
    return replace(gain, lower=gain.upper, upper=gain.lower)


def _classes(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "task": task.task,
            "rows": [_class(entry, task.scale.digits) for entry in task.classes],
            **({} if task.scale.is_percent else {"digits": task.scale.digits}),
        }
        for task in comparison.tasks
        if task.classes
    ]


def _class(entry: ClassComparison, digits: int) -> list[Any]:
    """Return name, n, base, candidate, forgetting and its two bounds."""
    drop = entry.forgetting
    values = (entry.base, entry.candidate, drop.estimate, drop.lower, drop.upper)
    return [printable(entry.name), entry.n, *(None if value is None else round(value, digits + 1) for value in values)]


def _flips(
    comparison: Comparison, read: FlipReader, thumbnails: Thumbnails, causes: Sequence[Causes]
) -> list[dict[str, Any]]:
    tasks, of = [], {found.task: found.of for found in causes}
    for task in comparison.tasks:
        flips = read(comparison, task) if task.flips.lost + task.flips.gained else []
        images = thumbnails.of(comparison.base.tasks[task.task], [flip.row for flip in flips]) if flips else {}
        tasks.append(
            {
                "task": task.task,
                "lost": task.flips.lost,
                "gained": task.flips.gained,
                "rows": [_flip(flip, images[flip.row], of.get(task.task, {}).get(flip.doc_id)) for flip in flips],
            }
        )
    return tasks


def _flip(flip: Flip, image: int | str, cause: str | None) -> dict[str, Any]:
    return {
        **({"cause": cause} if cause else {}),
        **({"name": flip.name} if flip.name else {}),
        "doc": flip.doc_id,
        "lost": flip.direction == "lost",
        "question": packed(flip.question),
        "target": packed(flip.target),
        "base": _answer(flip.base),
        "candidate": _answer(flip.candidate),
        "image": image,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return asdict(answer) | {"text": packed(answer.text)}


def _run(role: str, run: Run) -> Mapping[str, Any]:
    facts = {
        "model": run.model_kind,
        "arguments": run.model_args,
        "limit": run.settings.get("limit"),
        "date": run.results.get("date") or run.stamp,
        "lmms-eval": run.results.get("lmms_eval_version"),
    }
    shown = {name: printable(str(value)) for name, value in facts.items() if value not in (None, "")}
    return {"role": role, "name": printable(run.name), "facts": shown}
