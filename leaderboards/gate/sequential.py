"""A gate that is looked at while the documents come in: what to go on with, and how often it errs and what it takes.

The check ends as soon as its verdict stands: at the first unit that is shown to have forgotten, or when every unit is
shown not to be inferior. A task gets no more documents once it is decided, and so is its quadrant, if that has several.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emt_core.looks import LOOKS, Look
from leaderboards.comparison.alike import why_stopped
from leaderboards.gate.decide import GateResult, Outcome, judge, overall
from leaderboards.gate.policy import Policy
from leaderboards.gate.simulation import PlannedTask, Rates, Scenario, drawn, evidence_of, places

Ruled = tuple[str, str, Outcome]
"""A unit's kind, its name, and the verdict on it."""


def going_on(result: GateResult) -> list[str]:
    """Return the compared tasks that another look may still decide; none where the verdict stands."""
    comparison = result.comparison
    if why_stopped(comparison.differences) is not None:  # no number of documents makes the runs alike
        return []
    looks = {task.task: task.look for task in comparison.tasks}
    members = {group.name: group.tasks for group in comparison.quadrants if len(group.tasks) > 1}
    found = _open(((unit.kind, unit.name, unit.outcome) for unit in result.units), list(looks), members)
    return [task for task in found if (look := looks[task]) is not None and not look.last]


def _open(ruled: Iterable[Ruled], tasks: Sequence[str], members: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the tasks of which a unit is open; none if one is shown to have forgotten."""
    found: set[str] = set()
    for kind, name, outcome in ruled:
        if outcome == "forgetting":
            return []
        if outcome == "undecided":
            found.update(members.get(name, ()) if kind == "quadrant" else (name,))
    return [task for task in tasks if task in found]


@dataclass(frozen=True, slots=True)
class SequentialRates(Rates):
    """How many simulated candidates got each verdict, and the documents that each task took on average."""

    documents: Mapping[str, float] = field(default_factory=dict)


def simulate_looks(
    tasks: Sequence[PlannedTask],
    policy: Policy,
    scenario: Scenario,
    *,
    cap: int,
    draws: int = 1000,
    seconds: float | None = None,
    seed: int = 0,
) -> SequentialRates:
    """Put so many candidates through a sequential check of at most `cap` documents a task, as `simulate` does."""
    most = {task.name: min(cap, int(task.sizes.sum())) for task in tasks}
    members = {name: [task.name for task in found] for name, found in places(tasks).items() if len(found) > 1}
    counts: Counter[Outcome] = Counter()
    taken: Counter[str] = Counter()
    end = None if seconds is None else time.monotonic() + seconds
    done = 0
    while done < draws and (end is None or done < 50 or time.monotonic() < end):
        walks = {
            task.name: task.draw_looks(loss, generator, _documents(most[task.name]))
            for task, generator, loss in drawn(tasks, scenario, (seed, done))
        }
        looks = dict.fromkeys(walks, 1)
        while True:
            at = {name: Look.at(number, most[name]) for name, number in looks.items()}
            evidence = list(evidence_of(tasks, policy, {n: walks[n][k - 1] for n, k in looks.items()}, at))
            outcomes = [ruling.outcome for ruling in judge(evidence, policy)]
            ruled = [(unit.kind, unit.name, outcome) for unit, outcome in zip(evidence, outcomes, strict=True)]
            more = [name for name in _open(ruled, list(walks), members) if looks[name] < LOOKS]
            if not more:
                break
            looks |= {name: looks[name] + 1 for name in more}
        counts[overall(outcomes)] += 1
        taken.update({name: look.documents for name, look in at.items()})
        done += 1
    return SequentialRates(scenario, done, counts, {name: taken[name] / done for name in most})


def _documents(most: int) -> list[int]:
    return [Look.at(number, most).documents for number in range(1, LOOKS + 1)]
