"""What a gate can decide: simulated for tasks that will be run, for a base's run, or for two runs at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emt_core.errors import UserError, listed
from emt_core.runs import Run
from emt_tasks.tasks.sizes import sizes
from leaderboards.comparison.matrix import place
from leaderboards.comparison.samples import data_of, read_samples
from leaderboards.comparison.scales import find_scale
from leaderboards.gate.policy import Policy
from leaderboards.gate.sequential import SequentialRates, simulate_looks
from leaderboards.gate.simulation import PlannedTask, Rates, scenarios, simulate, simulate_all

if TYPE_CHECKING:
    from rich.console import Console

CHANGED = (0.1, 0.2)
"""The shares of answers that a harmless candidate is assumed to change, where no run shows how many."""

DRAWS = 2000
"""Candidates simulated for each scenario, if there is the time."""


def plan_tasks(
    names: Iterable[str], limit: int | None, matrix: Mapping[str, Sequence[str]] | None
) -> list[PlannedTask]:
    """Return our tasks among these names, as they will be evaluated.

    Raises:
        UserError: none of them is known.
    """
    names = list(names)
    quadrants = None if matrix is None else {task: quadrant for quadrant, tasks in matrix.items() for task in tasks}
    found = [
        PlannedTask(
            task.task,
            task.quadrant if quadrants is None else quadrants.get(task.task),
            task.clusters,
            0.0,
            data=task.data,
        )
        for task in sizes(names, limit)
    ]
    if not found:
        raise UserError(f"{', '.join(names)}: not our tasks, or their data is not here; plan with a run of the base")
    return found


def plan_run(
    run: Run, tasks: Iterable[str] | None, metrics: Mapping[str, str], matrix: Mapping[str, Sequence[str]] | None
) -> list[PlannedTask]:
    """Return the tasks of a base's run, with the documents that it has a score for."""
    chosen = [run.tasks[name] for name in tasks or run.tasks if name in run.tasks]
    if not chosen:
        raise UserError(f"{run.path}: has none of these tasks; it has {listed(run.tasks)}")
    placed = place(chosen, matrix)
    found = []
    for task in chosen:
        samples = read_samples(task, metrics.get(task.name))
        frame = samples.frame.drop_nulls("score")
        if not find_scale(samples.metric, [frame["score"]], samples.stated).is_percent:
            raise UserError(
                f"--plan: {task.name} is not scored from 0 to 1; with two runs, --self-test says what it asks"
            )
        together = frame["cluster"].drop_nulls()
        alone = np.ones(frame.height - len(together), dtype=np.int64)
        counted = np.append(alone, together.value_counts()["count"].to_numpy().astype(np.int64))
        found.append(PlannedTask(task.name, placed.get(task.name), counted, 0.0, data=data_of(task)))
    return found


def changing(tasks: Sequence[PlannedTask], share: float) -> list[PlannedTask]:
    """Return the tasks where a harmless candidate changes this share of answers."""
    return [replace(task, changed=share) for task in tasks]


def rate_plan(tasks: Sequence[PlannedTask], policy: Policy, *, seconds: float) -> Iterator[tuple[str, list[Rates]]]:
    """Yield the rates of each assumption about how many answers change, and its name."""
    for share in CHANGED:
        yield (
            f"{100 * share:g} % of the answers changed",
            rate(changing(tasks, share), policy, seconds=seconds / len(CHANGED)),
        )


def rate(tasks: Sequence[PlannedTask], policy: Policy, *, seconds: float) -> list[Rates]:
    """Return how often candidates pass and fail in each scenario."""
    return simulate_all(tasks, policy, scenarios(tasks, policy), draws=DRAWS, seconds=seconds)


def tell_plan(tasks: Sequence[PlannedTask], policy: Policy, *, seconds: float, cap: int | None = None) -> str:
    """Return one line: how often a harmless candidate passes, and how often the least visible loss fails.

    With a `cap` the check may end early: then also how many documents it takes.
    """
    parts = []
    rates = simulate if cap is None else partial(simulate_looks, cap=cap)
    for share in CHANGED:
        planned = changing(tasks, share)
        harmless, *losses = scenarios(planned, policy)
        beyond = losses[1::2]
        each = seconds / len(CHANGED) / (len(beyond) + 1)
        passes = rates(planned, policy, harmless, draws=DRAWS, seconds=each)
        failing = [rates(planned, policy, loss, draws=DRAWS, seconds=each) for loss in beyond]
        least = min(failing, key=lambda found: found.share("forgetting"))
        parts.append(
            f"if {100 * share:g} % of its answers change, a harmless candidate passes "
            f"{passes.share('not inferior'):.0f} % of the time{_taken(passes)}, and one with {least.scenario.name} "
            f"fails {least.share('forgetting'):.0f} %{_taken(least)}"
        )
    return f"What these tasks can decide: {'; '.join(parts)} (emt gate --plan says more)"


def _taken(rates: Rates) -> str:
    """Say how many documents a task takes on average where a check may end early."""
    if not isinstance(rates, SequentialRates):
        return ""
    return f" (after {sum(rates.documents.values()) / len(rates.documents):,.0f} documents a task)"


def print_rates(title: str, rates: Sequence[Rates], console: Console) -> None:
    """Print how often candidates get each verdict, one row per scenario."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left", title_style="bold")
    table.add_column("the candidate", overflow="fold")
    for column in ("passes", "undecided", "fails"):
        table.add_column(column, justify="right")
    for found in rates:
        shares = (found.share(outcome) for outcome in ("not inferior", "undecided", "forgetting"))
        table.add_row(found.scenario.name, *(f"{share:.1f} %" for share in shares))
    console.print(table)
    widest = max(found.error for found in rates)
    draws = sorted({found.draws for found in rates})
    drawn = f"{draws[0]:,}" if len(draws) == 1 else f"{draws[0]:,} to {draws[-1]:,}"
    console.print(f"{drawn} simulated candidates a row, ± {widest:.1f} points", style="dim", highlight=False)


def rates_json(found: Iterable[tuple[str, list[Rates]]]) -> str:
    """Return the rates as JSON lines, in percent."""
    return "\n".join(
        json.dumps(
            {
                "assumption": title,
                "scenario": one.scenario.name,
                "lost": dict(one.scenario.lost),
                "draws": one.draws,
                "passes": one.share("not inferior"),
                "undecided": one.share("undecided"),
                "fails": one.share("forgetting"),
            }
        )
        for title, rates in found
        for one in rates
    )
