"""What looking ten times costs and saves: documents, and how often candidates pass and fail, by the gate's own tests.

One task, a margin of 2 points. A candidate's answers are drawn, and the gate looks at them as `emt check --sequential`
does: ten times, equally spaced, by O'Brien-Fleming spending, until the verdict stands or the cap is reached. As many
candidates are looked at once, after `cap` documents.

Run: python -m benchmarks.sequential [--draws 2000]      (one JSON line a row; exits 1 where an error is above 5.5 %)
     python -m benchmarks.sequential --table             (the table of docs/reference/error-rates.md)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np

from leaderboards.gate.policy import Policy
from leaderboards.gate.sequential import simulate_looks
from leaderboards.gate.simulation import PlannedTask, Scenario, simulate

MARGIN, BOUND = 2.0, 5.5
"""In percentage points, and in per cent."""

CELLS = (
    (5.0, 0.0, 2000),
    (0.0, 5.0, 2000),
    (5.0, 5.0, 2000),
    (0.0, 10.0, 2000),
    (5.0, 10.0, 2000),
    (15.0, 0.0, 2000),
    (15.0, 0.0, 4000),
    (0.0, MARGIN, 2000),
    (5.0, MARGIN, 2000),
    (15.0, MARGIN, 4000),
)
"""Per cent of the answers that change although nothing is lost, points lost, cap."""


@dataclass(frozen=True, slots=True)
class Row:
    """Of candidates of one kind: the mean number of documents, and per cent of them with each verdict."""

    changed: float
    lost: float
    cap: int
    documents: float
    passes: float
    fails: float
    passes_without_looks: float
    fails_without_looks: float


def rows(draws: int) -> Iterator[Row]:
    """Yield each row when it is simulated."""
    for changed, lost, cap in CELLS:
        task = PlannedTask("task", None, np.ones(cap, dtype=np.int64), changed / 100)
        policy, scenario = Policy(margin=MARGIN), Scenario("", {"task": lost})
        looked = simulate_looks([task], policy, scenario, cap=cap, draws=draws)
        once = simulate([task], policy, scenario, draws=draws)
        shares = [found.share(outcome) for found in (looked, once) for outcome in ("not inferior", "forgetting")]
        yield Row(changed, lost, cap, round(looked.documents["task"]), *(round(share, 1) for share in shares))


def main() -> int:
    """Print every row, and return 1 if the gate errs too often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="simulated candidates per row (default: 2000)")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    given = parser.parse_args()
    if given.table:
        print("| answers changed | points lost | at most | documents | pass | fail | pass, one look | fail, one look |")
        print("|---|---|---|---|---|---|---|---|")
    worst = 0.0
    for row in rows(given.draws):
        if row.lost == MARGIN:
            worst = max(worst, row.passes, row.fails)
        print(_line(row) if given.table else json.dumps(asdict(row)), flush=True)
    slack = 200 * sqrt(0.05 * 0.95 / given.draws)  # two standard errors of a share of 5 %
    print(f"largest error at the margin: {worst:.1f} % (± {slack:.1f})", file=sys.stderr)
    return int(worst > BOUND + slack)


def _line(row: Row) -> str:
    shares = (row.passes, row.fails, row.passes_without_looks, row.fails_without_looks)
    cells = [
        f"{row.changed:g} %",
        f"{row.lost:g}",
        f"{row.cap:,}",
        f"{row.documents:,.0f}",
        *(f"{x:g} %" for x in shares),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
