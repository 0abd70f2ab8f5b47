"""How often the default tasks pass and fail a candidate, by policy: what the default policy was chosen by.

    python -m benchmarks.policy --draws 4000 >> docs/reference/policy.md

prints Markdown. Every candidate's answers are drawn and judged by the gate itself (`leaderboards.gate.simulation`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from tqdm import tqdm

from emt_tasks.commands.options import DEFAULT_TASKS
from emt_tasks.commands.planning import CHANGED, plan_tasks
from leaderboards.gate.policy import Policy
from leaderboards.gate.simulation import PlannedTask, Rates, Scenario, scenarios, simulate

LOST = 5.0
"""Percentage points lost in one quadrant that a policy should not let pass."""

DESIGNS = ((2.0, 2.0), (3.0, 1.0), (4.0, 4.0), (4.0, 2.0), (4.0, 1.0), (5.0, 1.0))
"""Margins, and the drops above which a candidate fails."""

Job = tuple[Policy, float, Scenario]


def rate(job: Job, *, tasks: tuple[PlannedTask, ...], draws: int) -> Rates:
    """Return how often candidates get each verdict, where this share of answers changes anyway."""
    policy, changed, scenario = job
    return simulate([replace(task, changed=changed) for task in tasks], policy, scenario, draws=draws)


def lost_somewhere(tasks: Iterable[PlannedTask]) -> list[Scenario]:
    """Return a loss of `LOST` points for each task, which is alone in its quadrant."""
    return [Scenario(f"{LOST:g} points lost in {task.quadrant or task.name}", {task.name: LOST}) for task in tasks]


def main() -> int:
    """Print both tables, and return 1 if the default policy does not hold what it promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated candidates per cell (default: 1000)")
    parser.add_argument("--processes", type=int, default=2, help="how many run at once (default: 2)")
    given = parser.parse_args()
    tasks = tuple(plan_tasks([DEFAULT_TASKS], None, None))
    harmless = Scenario("nothing lost")
    designs = [(Policy(margin=margin, fails_above=above), changed) for margin, above in DESIGNS for changed in CHANGED]
    jobs: list[Job] = [(*design, scenario) for design in designs for scenario in (harmless, *lost_somewhere(tasks))]
    jobs += [(Policy(), changed, scenario) for changed in CHANGED for scenario in scenarios(tasks, Policy())]
    with ProcessPoolExecutor(given.processes) as pool:
        rated = pool.map(partial(rate, tasks=tasks, draws=given.draws), jobs)
        found = dict(zip(map(_key, jobs), tqdm(rated, total=len(jobs), unit="cell"), strict=True))
    print("| margin | fails above | answers changed | harmless passes | 5 points lost passes | 5 points lost fails |")
    print("|---|---|---|---|---|---|")
    for policy, changed in designs:
        passes = found[_key((policy, changed, harmless))].share("not inferior")
        losses = [found[_key((policy, changed, scenario))] for scenario in lost_somewhere(tasks)]
        let_pass, caught = (
            max(one.share("not inferior") for one in losses),
            min(one.share("forgetting") for one in losses),
        )
        limits = f"{policy.margin:g} | {policy.fails_above:g}"
        print(f"| {limits} | {100 * changed:g} % | {passes:.1f} % | ≤ {let_pass:.1f} % | ≥ {caught:.1f} % |")
    print("\n| answers changed | the candidate | passes | undecided | fails |\n|---|---|---|---|---|")
    kept = True
    for changed in CHANGED:
        for scenario in scenarios(tasks, Policy()):
            one = found[_key((Policy(), changed, scenario))]
            shares = [one.share(outcome) for outcome in ("not inferior", "undecided", "forgetting")]
            kept &= shares[0] >= 90 if not scenario.lost else shares[0] <= 5.5
            kept &= shares[2] >= 80 or not scenario.name.startswith(f"{LOST:g} points")
            print(f"| {100 * changed:g} % | {scenario.name} | {' | '.join(f'{share:.1f} %' for share in shares)} |")
    return int(not kept)


def _key(job: Job) -> tuple[float, float | None, float, str]:
    policy, changed, scenario = job
    return policy.margin, policy.fails_above, changed, scenario.name


if __name__ == "__main__":
    sys.exit(main())
