"""How often the gate errs on metrics of any range: candidates that lost the margin, by the shape of their losses.

A candidate that lost exactly the margin should pass, and fail, at most 5 % of the time each. Shapes: grades from 0 to
10 that change by one; rare losses of half the range; skewed changes, as of CIDEr. With the range stated
(`--metric TASK=NAME:0..10`) the tests hold whatever the scores; without it, they reckon with the largest change seen.

Run: python -m benchmarks.any_range --runs 400
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from leaderboards.comparison.scales import find_scale
from leaderboards.statistics import PairedSample

Scores = NDArray[np.float64]
ALPHA = 0.05


def grades(generator: np.random.Generator, n: int, lost: float) -> tuple[Scores, Scores]:
    """Grades from 1 to 9, four in ten changed by one."""
    base = generator.integers(1, 10, n).astype(float)
    return base, base - generator.choice([0.0, 1.0, -1.0], n, p=[0.6, 0.2 + lost / 2, 0.2 - lost / 2])


def rare(generator: np.random.Generator, n: int, lost: float) -> tuple[Scores, Scores]:
    """Grades from 7 to 9, of which a few fall by 5: the hardest case, since small samples may have none of them."""
    base = 7.0 + generator.integers(0, 3, n)
    return base, base - 5.0 * (generator.random(n) < lost / 5)


def skewed(generator: np.random.Generator, n: int, lost: float) -> tuple[Scores, Scores]:
    """CIDEr-like scores from 0 on, whose losses have a long tail."""
    base = 2.0 + generator.gamma(2.0, 0.5, n)
    change = generator.gamma(1.0, 0.3, n) - 0.3 + lost
    return base, base - np.minimum(change, 2.0)


SHAPES: dict[str, tuple[Callable[..., tuple[Scores, Scores]], float, tuple[float, float]]] = {
    "grades": (grades, 0.3, (0.0, 10.0)),
    "rare": (rare, 0.3, (0.0, 10.0)),
    "skewed": (skewed, 0.1, (0.0, 10.0)),
}
"""Each shape with the margin, which is also what is truly lost, and the range to state."""


def measure(shape: str, n: int, runs: int, *, stated: bool, lost: float | None = None) -> dict[str, float]:
    """Return the shares of candidates that pass and that fail, having lost the margin, or as much as said."""
    draw, margin, values = SHAPES[shape]
    outcomes = {"pass": 0, "fail": 0}
    for run in range(runs):
        base, candidate = draw(np.random.default_rng((run, n)), n, margin if lost is None else lost)
        sides = [pl.Series(base), pl.Series(candidate)]
        scale = find_scale(shape, sides, values if stated else None, drops=[pl.Series(base - candidate)])
        sample = PairedSample.from_scores((base - scale.low) / scale.span, (candidate - scale.low) / scale.span)
        p_values = sample.p_values(margin / scale.span) if sample else None
        if p_values is not None:
            outcomes["pass"] += p_values[0] < ALPHA
            outcomes["fail"] += p_values[1] < ALPHA
    return {name: count / runs for name, count in outcomes.items()}


def main() -> None:
    """Print a line for each shape, size and way to know the range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--documents", default="100,300,1000")
    arguments = parser.parse_args()
    runs = arguments.runs
    for shape in SHAPES:
        for n in map(int, arguments.documents.split(",")):
            for stated in (False, True):
                found = measure(shape, n, runs, stated=stated)
                power = measure(shape, n, runs, stated=stated, lost=0.0)["pass"]
                said = {name: round(100 * share, 1) for name, share in found.items()}
                line = {"shape": shape, "n": n, "range": "stated" if stated else "seen"}
                print(
                    json.dumps(
                        line
                        | {f"{name}_percent": share for name, share in said.items()}
                        | {"pass_percent_if_nothing_lost": round(100 * power, 1)}
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
