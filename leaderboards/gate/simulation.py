"""How often the gate errs and decides: simulated candidates, each put through the gate's own tests.

Nothing is approximated: every candidate's answers are drawn, and its units are judged by `decide.judge`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emt_core.looks import Look
from leaderboards.comparison.alike import why_stopped
from leaderboards.comparison.forgetting import Comparison, TaskComparison
from leaderboards.comparison.scales import POINTS, Scale
from leaderboards.gate.decide import Evidence, Outcome, gather, judge, overall, task_evidence
from leaderboards.gate.policy import Limits, Policy
from leaderboards.statistics import MeanOfSamples, PairedSample
from leaderboards.statistics.resampling import Outcomes, tilted

BEYOND = 1.25
"""A loss that should fail, in margins."""

TOGETHER = 0.3
"""The share of clusters whose answers change as one, where no run says how they do."""


@dataclass(frozen=True, eq=False)
class PlannedTask:
    """A task as it will be, or was, evaluated on both models; compared by identity.

    Attributes:
        name: the task's.
        quadrant: its place in the matrix.
        sizes: the number of documents in each cluster, (clusters,); all 1 if documents come in none.
        changed: the share of answers that turn right or wrong although nothing is lost.
        together: the share of clusters whose answers change as one.
        data: the data set's name; tasks that share it change on the same documents.
        one_sided: how many more documents only one of the two runs has a score for.
        seen: the drops to draw from, for scores that are not 0 or 1.
        scale: the unit of losses and limits, and what scores range over.
        base: the base's mean score in that unit, where it is known.
        blocked: why the gate decides nothing here whatever the scores are; None if it may.
    """

    name: str
    quadrant: str | None
    sizes: NDArray[np.int64]
    changed: float
    together: float = TOGETHER
    data: str = ""
    one_sided: int = 0
    seen: Outcomes | None = None
    blocked: str | None = None
    scale: Scale = POINTS
    base: float | None = None

    @classmethod
    def like(cls, task: TaskComparison, blocked: str | None = None) -> PlannedTask | None:
        """Return a task with the documents, changes and left-out scores of one that was compared; None if it has none.

        A harmless candidate is one that turns as many answers right as wrong, and as many of both as the one at hand
        beyond its drop.
        """
        sample = task.sample
        if sample is None:
            return None
        one_sided = task.extremes[0].n - task.n if task.extremes else 0
        common: dict[str, Any] = {"data": task.data, "one_sided": one_sided, "blocked": blocked, "scale": task.scale}
        common["base"] = task.scores.base.estimate if task.scores else None
        outcomes = sample.outcomes
        if outcomes is None:
            sizes, together, seen = np.ones(sample.n, dtype=np.int64), 0.0, None
        else:
            sizes, seen = np.repeat(outcomes.sizes, outcomes.counts), None if sample.binary else outcomes
            together = _intraclass(sample.design_effect, sizes)
        drop = abs(sample.difference)
        changed = max(sample.discordant - drop, 0.0) if sample.binary else 0.0
        return cls(task.task, task.quadrant, sizes, changed, together, seen=seen, **common)

    def draw(self, loss: float, generator: np.random.Generator) -> PairedSample:
        """Return the scores of a candidate that lost so much, a proportion of all answers, and changed the rest."""
        n = int(self.sizes.sum())
        if self.seen is not None:
            return _draw_like(self.seen, self.sizes, loss, generator)
        lost, gained = self.changed / 2 + loss, self.changed / 2
        if len(self.sizes) == n:
            down, up, _ = generator.multinomial(n, [lost, gained, max(1 - lost - gained, 0.0)])
            return PairedSample.from_counts(n, int(down), int(up))
        downs, ups = draw_clusters(self.sizes, lost, gained, self.together, generator)
        outcomes = Outcomes.of_clusters((downs - ups) / self.sizes, self.sizes)
        return PairedSample.from_counts(n, int(downs.sum()), int(ups.sum()), outcomes, len(self.sizes))

    def draw_looks(self, loss: float, generator: np.random.Generator, looks: Sequence[int]) -> list[PairedSample]:
        """Return the scores of such a candidate on the first documents of a random order, for each number in `looks`.

        Only for a task that is planned, with scores of 0 or 1.
        """
        lost, gained = self.changed / 2 + loss, self.changed / 2
        if self.sizes.max() == 1:
            chances = [lost, gained, max(1 - lost - gained, 0.0)]
            counts = generator.multinomial(np.diff([0, *looks]), chances).cumsum(axis=0)
            return [
                PairedSample.from_counts(int(row.sum()), int(down), int(up)) for row in counts for down, up, _ in [row]
            ]
        downs, ups = draw_clusters(self.sizes, lost, gained, self.together, generator)
        owners = np.repeat(np.arange(len(self.sizes)), self.sizes)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        drops = np.where(within < downs[owners], 1, np.where(within < (downs + ups)[owners], -1, 0))
        order = generator.permutation(len(owners))
        return [_of_documents(drops[order[:number]], owners[order[:number]]) for number in looks]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a candidate lost by task, in the unit of its scale, and in words."""

    name: str
    lost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rates:
    """How many of `draws` simulated candidates got each verdict."""

    scenario: Scenario
    draws: int
    counts: Mapping[Outcome, int]

    def share(self, outcome: Outcome) -> float:
        """The share with this verdict, in percent."""
        return 100 * self.counts.get(outcome, 0) / self.draws

    @property
    def error(self) -> float:
        """Twice the largest standard error of a share, in percentage points."""
        return 100 / sqrt(self.draws)


def scenarios(tasks: Sequence[PlannedTask], policy: Policy) -> list[Scenario]:
    """Return what is asked of a policy: nothing lost; then, in each quadrant and lone task, the margin, and more."""
    found = [Scenario("nothing lost")]
    for name, members in places(tasks).items():
        together = len(members) > 1
        margin = (_limits_of_place(name, members, policy) if together else _limits(members[0], tasks, policy)).margin
        for lost in (margin, BEYOND * margin):
            said = f"{lost:.4g} {members[0].scale.unit} lost in {name}"
            found.append(Scenario(said, {task.name: lost for task in members}))
    return found


def simulate(
    tasks: Sequence[PlannedTask],
    policy: Policy,
    scenario: Scenario,
    *,
    draws: int = 1000,
    seconds: float | None = None,
    seed: int = 0,
) -> Rates:
    """Put so many candidates through the gate, or as many as `seconds` allow, but never fewer than 50."""
    return simulate_all(tasks, policy, [scenario], draws=draws, seconds=seconds, seed=seed)[0]


def simulate_all(
    tasks: Sequence[PlannedTask],
    policy: Policy,
    asked: Sequence[Scenario],
    *,
    draws: int = 1000,
    seconds: float | None = None,
    seed: int = 0,
) -> list[Rates]:
    """Simulate several scenarios, as `simulate` does each: what they have in common is drawn and tested once."""
    counts = [Counter[Outcome]() for _ in asked]
    end = None if seconds is None else time.monotonic() + seconds
    done = 0
    while done < draws and (end is None or done < 50 or time.monotonic() < end):
        draw = _Draw(tasks, policy, (seed, done))
        for count, scenario in zip(counts, asked, strict=True):
            count[overall(ruling.outcome for ruling in judge(draw.evidence(scenario), policy))] += 1
        done += 1
    return [Rates(scenario, done, count) for scenario, count in zip(asked, counts, strict=True)]


class _Draw:
    """One simulated candidate, whatever it has lost: a task's sample depends on what is lost on that task alone."""

    def __init__(self, tasks: Sequence[PlannedTask], policy: Policy, seed: tuple[int, int]) -> None:
        self._tasks, self._policy, self._seed = tasks, policy, seed
        self._quadrants = {name: members for name, members in places(tasks).items() if len(members) > 1}
        self._samples: dict[tuple[str, float], PairedSample] = {}
        self._evidence: dict[tuple[str, str, tuple[float, ...]], Evidence] = {}

    def evidence(self, scenario: Scenario) -> list[Evidence]:
        """Return the evidence of all units, as `evidence_of` does."""
        samples: dict[str, PairedSample] = {}
        lost: dict[str, float] = {}
        for task, generator, loss in drawn(self._tasks, scenario, self._seed):
            if (task.name, loss) not in self._samples:
                self._samples[task.name, loss] = task.draw(loss, generator)
            samples[task.name], lost[task.name] = self._samples[task.name, loss], loss
        found = []
        for task in self._tasks:
            key: tuple[str, str, tuple[float, ...]] = ("task", task.name, (lost[task.name],))
            if key not in self._evidence:
                self._evidence[key] = _of_task(task, self._tasks, self._policy, samples, {})
            found.append(self._evidence[key])
        for name, members in self._quadrants.items():
            key = ("quadrant", name, tuple(lost[task.name] for task in members))
            if key not in self._evidence:
                self._evidence[key] = _of_quadrant(name, members, self._policy, samples, {})
            found.append(self._evidence[key])
        return found


def plan_like(comparison: Comparison, policy: Policy) -> list[PlannedTask]:
    """Return the tasks of a comparison, to simulate more candidates like its own."""
    stopped = why_stopped(comparison.differences)
    found = []
    for task in comparison.tasks:
        evidence = task_evidence(task, comparison, policy)
        found.append(PlannedTask.like(task, stopped or (None if evidence.more_helps else evidence.blocked)))
    return [task for task in found if task is not None]


def draw_clusters(
    sizes: NDArray[np.int64], lost: float, gained: float, together: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many answers each cluster lost and gained, (clusters,).

    A share `together` of the clusters changes as one; in the others each answer changes by itself. That share is the
    intraclass correlation of the changes.
    """
    as_one, fate = generator.random(sizes.shape) < together, generator.random(sizes.shape)
    downs = generator.binomial(sizes, lost)
    ups = generator.binomial(sizes - downs, min(gained / (1 - lost), 1.0) if lost < 1 else 0.0)
    downs = np.where(as_one, np.where(fate < lost, sizes, 0), downs)
    ups = np.where(as_one, np.where((fate >= lost) & (fate < lost + gained), sizes, 0), ups)
    return downs, ups


def _of_documents(drops: NDArray[np.int64], owners: NDArray[np.int64]) -> PairedSample:
    """Return the sample of documents, each with its drop and the number of its cluster, (documents,) both."""
    sizes = np.bincount(owners)
    sums = np.bincount(owners, drops)[sizes > 0]
    sizes, down, up = sizes[sizes > 0], int((drops > 0).sum()), int((drops < 0).sum())
    if len(sizes) == len(drops):
        return PairedSample.from_counts(len(drops), down, up)
    return PairedSample.from_counts(len(drops), down, up, Outcomes.of_clusters(sums / sizes, sizes), len(sizes))


def _draw_like(seen: Outcomes, sizes: NDArray[np.int64], loss: float, generator: np.random.Generator) -> PairedSample:
    """Draw each cluster's drop from those that were seen, weighted so that their mean is the loss.

    Half a cluster that lost all and half a one that gained all are among them, as the tests assume.
    """
    drops = np.concatenate([seen.drops, [1.0, -1.0]])
    weights = np.concatenate([seen.counts, [0.5, 0.5]]) / (seen.counts.sum() + 1)
    rises = weights @ drops <= loss
    weights = tilted(drops, weights, loss) if rises else tilted(-drops, weights, -loss)
    drawn = drops[generator.choice(len(drops), size=len(sizes), p=weights)]
    outcomes = Outcomes.of_clusters(drawn, sizes)
    clusters = None if int(sizes.max()) == 1 else len(sizes)
    return PairedSample.from_outcomes(outcomes, clusters)


def drawn(
    tasks: Sequence[PlannedTask], scenario: Scenario, seed: tuple[int, int]
) -> Iterator[tuple[PlannedTask, np.random.Generator, float]]:
    """Yield each task with its own generator, which those on the same data share, and what it lost, from 0 to 1."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(task.data or task.name for task in tasks))}
    for task in tasks:
        generator = np.random.default_rng((*seed, numbers[task.data or task.name]))
        yield task, generator, scenario.lost.get(task.name, 0.0) / task.scale.span


def evidence_of(
    tasks: Sequence[PlannedTask],
    policy: Policy,
    samples: Mapping[str, PairedSample],
    looks: Mapping[str, Look] | None = None,
) -> Iterator[Evidence]:
    """Yield the evidence of each task's sample, and of each quadrant with several tasks.

    `looks` says where the tasks stand that may end early.
    """
    for task in tasks:
        yield _of_task(task, tasks, policy, samples, looks or {})
    for name, members in places(tasks).items():
        if len(members) > 1:
            yield _of_quadrant(name, members, policy, samples, looks or {})


def _of_task(
    task: PlannedTask,
    tasks: Sequence[PlannedTask],
    policy: Policy,
    samples: Mapping[str, PairedSample],
    looks: Mapping[str, Look],
) -> Evidence:
    sample = samples[task.name]
    common: dict[str, Any] = {"blocked": task.blocked, "scale": task.scale, "look": looks.get(task.name)}
    limits = _limits(task, tasks, policy)
    return gather(
        task.name, "task", limits, sample.n, sample, policy, extremes=_extremes(task, sample) or None, **common
    )


def _extremes(task: PlannedTask, sample: PairedSample) -> tuple[PairedSample, PairedSample] | tuple[()]:
    """Return the samples if all documents that one run alone scored were lost, or gained; nothing if there are none."""
    return (sample.with_more(task.one_sided, 0), sample.with_more(0, task.one_sided)) if task.one_sided else ()


def _of_quadrant(
    name: str,
    members: Sequence[PlannedTask],
    policy: Policy,
    samples: Mapping[str, PairedSample],
    looks: Mapping[str, Look],
) -> Evidence:
    data = tuple(task.data or task.name for task in members)
    own = tuple(samples[task.name] for task in members)
    mean = MeanOfSamples(own, data)
    apart = None
    if any(task.one_sided for task in members):
        sides = [_extremes(task, sample) or (sample, sample) for task, sample in zip(members, own, strict=True)]
        apart = MeanOfSamples(tuple(one[0] for one in sides), data), MeanOfSamples(tuple(one[1] for one in sides), data)
    blocked = next(filter(None, (one.blocked for one in members)), None)
    look = min((looks[one.name] for one in members if one.name in looks), key=_number, default=None)
    limits = _limits_of_place(name, members, policy)
    common: dict[str, Any] = {"blocked": blocked, "extremes": apart, "scale": members[0].scale, "look": look}
    return gather(name, "quadrant", limits, mean.n, mean, policy, **common)


def _number(look: Look) -> int:
    return look.number


def places(tasks: Sequence[PlannedTask]) -> dict[str, list[PlannedTask]]:
    """Return the tasks of each quadrant, and each task without one by itself."""
    found: dict[str, list[PlannedTask]] = {}
    for task in tasks:
        found.setdefault(task.quadrant or task.name, []).append(task)
    mixed = [name for name, members in found.items() if len({task.scale for task in members}) > 1]
    for task in [task for name in mixed for task in found.pop(name)]:  # no mean over unlike units
        found[task.name] = [task]
    return found


def _limits_of_place(name: str, members: Sequence[PlannedTask], policy: Policy) -> Limits:
    known = [task.base for task in members if task.base is not None]
    base = sum(known) / len(known) if known else None
    return policy.limits_of_quadrant(name, scale=members[0].scale, base=base)


def _limits(task: PlannedTask, tasks: Sequence[PlannedTask], policy: Policy) -> Limits:
    alone = task.quadrant is not None and sum(other.quadrant == task.quadrant for other in tasks) == 1
    return policy.limits_of(task.name, task.quadrant, alone=alone, scale=task.scale, base=task.base)


def _intraclass(effect: float, sizes: NDArray[np.int64]) -> float:
    """Return the correlation within clusters of these sizes that has this design effect."""
    largest = float((sizes**2).sum() / sizes.sum()) - 1
    return float(np.clip((effect - 1) / largest, 0.0, 1.0)) if largest > 0 else 0.0
