"""Causes in words and in pictures: a line for each task, stacked bars, which answer became which, reliability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leaderboards.comparison.causes import CAUSES, Cause, Causes, Flow
from leaderboards.report.charts import Axis, Segment, make_axis
from leaderboards.report.text import bounds, number, printable
from leaderboards.statistics.reliability import Reliability

MEANING: dict[Cause, str] = {
    "format": "the right answer is still the likeliest, but not what is written",
    "mouth": "the image is still seen, but the right answer is not the likeliest any more",
    "eye": "the vision tower no longer shows it",
    "unclear": "cannot be told apart",
}
REMEDY: dict[Cause, str] = {
    "format": "mix in 10 % of other prompts",
    "mouth": "train fewer parts, or at a lower rate",
    "eye": "leave the vision tower frozen",
    "unclear": "",
}
"""What prevents each: arXiv 2603.14493, figure 4 for the first, figure 2 for the others."""

_OFTEN_GUESSED = 15.0
"""Percent of the lost documents that a guess regains, from which on it is said."""

ANSWERS = 8
"""Answers of one side that a flow shows; all others are one."""

OTHERS = "(others)"
_GAP, _LINE = 6.0, 14.0
"""Pixels between two answers, and that an answer takes at least, for its name."""


def in_a_line(causes: Causes) -> str:
    """Say what was lost in one task, why, and what prevents it."""
    if not causes.n:
        return f"{causes.task}: none of its documents were measured."
    if not causes.lost:
        return f"{causes.task}: nothing lost."
    lost = f"{causes.task}: {number(100 * causes.lost / causes.n)} points lost"
    if causes.gained:
        lost += f", {number(100 * causes.gained / causes.n)} gained"
    named = sorted((cause for cause in CAUSES if causes.points(cause)), key=causes.points, reverse=True)
    first, *others = named
    if first == "unclear":
        said = f"for {number(causes.points(first))} of them the cause cannot be told ({why_unclear(causes)})"
    else:
        said = f"{number(causes.points(first))} of them are {first}: {MEANING[first]}"
    rest = "".join(f", {number(causes.points(cause))} {cause}" for cause in others)
    remedy = f" Try: {REMEDY[first]}." if REMEDY[first] else ""
    return f"{lost}; {said}{rest}.{remedy}"


def why_unclear(causes: Causes) -> str:
    """Say why causes cannot be told apart."""
    if causes.closed_by is None:
        eye = "; not the eye, since the vision tower is the base's" if causes.same_tower else ""
        return f"its answers do not form a closed set{eye}"
    if not causes.probed:
        return "the vision towers differ, and its images were not probed, or not alike in both models"
    return "no probe finds the label in the base's own tower"


def notes(causes: Causes) -> Iterator[str]:
    """Yield what limits a diagnosis, in sentences."""
    if causes.recoverable and causes.lost:
        yield (
            f"Recoverable forgetting: the closed set (by {causes.closed_by}) regains "
            f"{number(causes.recoverable.estimate)} % ({bounds(causes.recoverable)}) of what was lost."
        )
    if causes.guessed and causes.guessed > _OFTEN_GUESSED and causes.lost:
        yield f"A guess among the choices would regain {number(causes.guessed)} %."
    known = causes.base_closed
    if known and known.upper is not None and known.upper < 50 and causes.lost:
        yield (
            f"The base itself has the right answer as its likeliest in only {number(known.estimate)} % of them: "
            "scored so, even the base loses most of what it answers right."
        )
    if causes.reaches:
        yield (
            f"Of what was lost at the mouth, a probe still reads {number(causes.reaches.estimate)} % "
            f"({bounds(causes.reaches)}) from what reaches the language model."
        )


@dataclass(frozen=True, slots=True)
class Band:
    """A stream from one answer of the base to one of the candidate: its edges in pixels from the top."""

    base: str
    candidate: str
    documents: int
    left: tuple[float, float]
    right: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stack:
    """One answer on one side: its name, its documents, its edges in pixels from the top."""

    name: str
    documents: int
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class FlowChart:
    """Which answer became which among a task's lost documents."""

    left: tuple[Stack, ...]
    right: tuple[Stack, ...]
    bands: tuple[Band, ...]
    height: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One model's reliability: the error in percent, and its bins in percent: probability, share right, documents."""

    name: str
    error: float
    points: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True, slots=True)
class WhyRow:
    """One task's part of the section; `segments` go right from zero, `gained` left."""

    causes: Causes
    segments: tuple[Segment, ...]
    gained: Segment | None
    line: str
    notes: tuple[str, ...]
    flow: FlowChart | None
    reliability: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """The section: its rows and their common axis, in percent of the documents."""

    rows: tuple[WhyRow, ...]
    axis: Axis


def draw(found: Sequence[Causes]) -> Why | None:
    """Return the section over some tasks; None if none was diagnosed."""
    known = [causes for causes in found if causes.n]
    if not known:
        return None
    ends = [100 * causes.lost / causes.n for causes in known]
    axis = make_axis([*ends, *(-100 * causes.gained / causes.n for causes in known)], include=[0.0], least=1.0)
    return Why(tuple(_row(causes, axis) for causes in known), axis)


def _row(causes: Causes, axis: Axis) -> WhyRow:
    segments, done = [], 0
    for cause in CAUSES:
        count = sum(found == cause for found in causes.of.values())
        if count:
            segments.append(_segment(cause, count, done, causes.n, axis))
            done += count
    gained = _segment("gained", causes.gained, -causes.gained, causes.n, axis) if causes.gained else None
    return WhyRow(
        causes,
        tuple(segments),
        gained,
        printable(in_a_line(causes)),
        tuple(notes(causes)),
        draw_flow(causes.flows) if causes.flows else None,
        curves(causes.calibration),
    )


def _segment(kind: str, count: int, before: int, n: int, axis: Axis) -> Segment:
    start, end = axis(100 * before / n), axis(100 * (before + count) / n)
    return Segment(kind, count, start, round(end - start, 3), 100 * count / n)


def curves(calibration: Sequence[Reliability | None]) -> tuple[Curve, ...]:
    """Return the reliability of base and candidate, of those that have one."""
    return tuple(_curve(name, one) for name, one in zip(("base", "candidate"), calibration, strict=True) if one)


def _curve(name: str, found: Reliability) -> Curve:
    points = ((100 * one.probability, 100 * (one.right.estimate or 0.0), one.right.n) for one in found.bins)
    return Curve(name, 100 * found.error, tuple(points))


def draw_flow(flows: Sequence[Flow], height: float = 240.0) -> FlowChart:
    """Lay out streams between the answers of both sides, the most frequent answers first, `height` pixels in all."""
    names = {side: _frequent(flows, side) for side in ("base", "candidate")}
    pairs: Counter[tuple[str, str]] = Counter()
    for flow in flows:
        ends = (flow.base if flow.base in names["base"] else OTHERS,
                flow.candidate if flow.candidate in names["candidate"] else OTHERS)  # fmt: skip
        pairs[ends] += flow.documents
    left = _stacks([*names["base"], OTHERS], pairs, 0, height)
    right = _stacks([*names["candidate"], OTHERS], pairs, 1, height)
    places = ({stack.name: stack.top for stack in side} for side in (left, right))
    from_top, to_top = places
    unit = _unit(pairs, max(len(left), len(right)), height)
    bands = []
    order = {stack.name: index for index, stack in enumerate(right)}
    for stack in left:
        for end in sorted((end for start, end in pairs if start == stack.name), key=lambda name: order[name]):
            count = pairs[stack.name, end]
            first, second = from_top[stack.name], to_top[end]
            from_top[stack.name], to_top[end] = first + count * unit, second + count * unit
            bands.append(
                Band(
                    stack.name,
                    end,
                    count,
                    (round(first, 2), round(first + count * unit, 2)),
                    (round(second, 2), round(second + count * unit, 2)),
                )
            )
    tallest = max(stack.bottom for stack in (*left, *right))
    return FlowChart(left, right, tuple(bands), round(tallest, 2))


def _frequent(flows: Sequence[Flow], side: str) -> list[str]:
    counts: Counter[str] = Counter()
    for flow in flows:
        counts[getattr(flow, side)] += flow.documents
    return [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:ANSWERS]]


def _unit(pairs: Counter[tuple[str, str]], stacks: int, height: float) -> float:
    """Return how many pixels a document takes."""
    return (height - _GAP * (stacks - 1)) / sum(pairs.values())


def _stacks(names: Sequence[str], pairs: Counter[tuple[str, str]], side: int, height: float) -> tuple[Stack, ...]:
    counts = {name: sum(count for pair, count in pairs.items() if pair[side] == name) for name in names}
    shown = [(name, count) for name, count in counts.items() if count]
    most = max(len({pair[0] for pair in pairs}), len({pair[1] for pair in pairs}))
    unit, top, stacks = _unit(pairs, most, height), 0.0, []
    for name, count in shown:
        stacks.append(Stack(name, count, round(top, 2), round(top + count * unit, 2)))
        top += max(count * unit + _GAP, _LINE)
    return tuple(stacks)
