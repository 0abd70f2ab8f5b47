"""Error rates and power of the gate under judge errors: by the verdicts, by an audit, by labels of all pairs.

Run: python -m benchmarks.audit            (one JSON line a cell; exits 1 where the audit's size is above 7 %)
     python -m benchmarks.audit --table    (the same as the table of docs/reference/audit.md)
     python -m benchmarks.audit --draws 200000

One task of n documents, a margin of 2 points, an audit of every differing verdict and 300 of the pairs that agree on
different texts. 2 % of the answers are gained; as many are lost, and the margin on top where the size is asked for.
A share of the texts differs; a judge errs on each text by itself, and in the same way on equal ones.
`passes_at_margin` and `fails_at_margin` are sizes, nominally 5 %; `passes_unchanged` is the power.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics import score_statistic
from leaderboards.statistics.audit import Stratum, effective_counts
from leaderboards.statistics.interval import normal_quantile
from leaderboards.statistics.paired import CORRECTION

MARGIN, AUDIT, ALPHA, GAINED, ACCURACY, BOUND = 0.02, 300, 0.05, 0.02, 0.8, 0.07
TRUTHS = tuple(product((True, False), repeat=2))
"""Whether base and candidate are right."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge's error rates, base's and candidate's: right called wrong, and wrong called right."""

    name: str
    false_wrong: tuple[float, float]
    false_correct: tuple[float, float]

    def says(self, side: int, truth: bool, verdict: bool) -> float:
        """Return P(verdict | truth) on one side."""
        error = (self.false_wrong if truth else self.false_correct)[side]
        return 1 - error if truth == verdict else error


JUDGES = (
    Judge("no errors", (0.0, 0.0), (0.0, 0.0)),
    Judge("2 % and 3 % on both sides", (0.03, 0.03), (0.02, 0.02)),
    Judge("candidate's false-wrong 3 to 8 %", (0.03, 0.08), (0.02, 0.02)),
    Judge("candidate's false-correct 2 to 7 %", (0.03, 0.03), (0.02, 0.07)),
)


def draw(judge: Judge, n: int, unlike: float, drop: float, draws: int, chance: np.random.Generator) -> Counts:
    """Return how many pairs with different texts have each truth and verdicts: (draws, 4 truths, 4 verdicts)."""
    lost = GAINED + drop
    same = unlike - lost - GAINED
    shares = {(True, True): same * ACCURACY, (True, False): lost, (False, True): GAINED}
    shares[False, False] = same * (1 - ACCURACY)
    cells = [
        shares[truth] * judge.says(0, truth[0], verdict[0]) * judge.says(1, truth[1], verdict[1])
        for truth in TRUTHS
        for verdict in TRUTHS
    ]
    return chance.multinomial(n, [*cells, 1 - sum(cells)], size=draws)[:, :-1].reshape(draws, 4, 4)


def decisions(lost: NDArray, gained: NDArray, n: NDArray | int) -> tuple[float, float]:  # type: ignore[type-arg]
    """Return how often the gate passes and fails."""
    z = normal_quantile(ALPHA)
    passes = -score_statistic(lost, gained, n, MARGIN, correction=-CORRECTION) > z
    fails = score_statistic(lost, gained, n, MARGIN, correction=CORRECTION) > z
    return float(passes.mean()), float(fails.mean())


def audit(counts: Counts, n: int, chance: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:  # type: ignore[type-arg]
    """Label every differing verdict and a part of the others; return the effective counts."""
    differ = counts[:, :, 1] + counts[:, :, 2]
    agree = counts[:, :, 0] + counts[:, :, 3]
    population = agree.sum(axis=1)
    labelled = np.minimum(population, AUDIT)
    lost = chance.hypergeometric(agree[:, 1], population - agree[:, 1], labelled)
    rest = population - agree[:, 1]
    gained = chance.hypergeometric(agree[:, 2], rest - agree[:, 2], labelled - lost)
    size = differ.sum(axis=1)
    strata = Stratum(size, size, differ[:, 1], differ[:, 2]), Stratum(population, labelled, lost, gained)
    return effective_counts(np.full(len(counts), n), strata)


def cell(judge: Judge, n: int, unlike: float, draws: int, seed: int) -> dict[str, object]:
    """Simulate one judge at one size of the sample."""
    figures: dict[str, object] = {"judge": judge.name, "n": n, "texts_differ": unlike, "draws": draws}
    for drop in (MARGIN, 0.0):
        chance = np.random.default_rng(seed)
        counts = draw(judge, n, unlike, drop, draws, chance)
        by_verdict, by_truth = counts.sum(axis=1), counts.sum(axis=2)
        ways = {
            "judge": decisions(by_verdict[:, 1], by_verdict[:, 2], n),
            "audit": decisions(*audit(counts, n, chance)),
            "gold": decisions(by_truth[:, 1], by_truth[:, 2], n),
        }
        labels = (by_verdict[:, 1] + by_verdict[:, 2] + np.minimum(by_verdict[:, 0] + by_verdict[:, 3], AUDIT)).mean()
        for way, (passes, fails) in ways.items():
            if drop:
                figures |= {f"{way}_passes_at_margin": round(passes, 4), f"{way}_fails_at_margin": round(fails, 4)}
            else:
                figures[f"{way}_passes_unchanged"] = round(passes, 4)
        figures["labels"] = round(float(labels))
    sizes = (figures["audit_passes_at_margin"], figures["audit_fails_at_margin"])
    return figures | {"ok": max(sizes) <= BOUND}  # type: ignore[type-var, operator]


def cells(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield every cell's figures."""
    for n, unlike, judge in product((2_000, 20_000), (0.1, 0.36, 0.8), JUDGES):
        yield cell(judge, n, unlike, draws, seed)


def table_row(figures: Mapping[str, object]) -> str:
    """Return a cell as a row of a Markdown table: rates in percent, by judge, audit and gold."""

    def rates(what: str) -> str:
        return " / ".join(f"{100 * float(str(figures[f'{way}_{what}'])):.1f}" for way in ("judge", "audit", "gold"))

    context = [figures["n"], f"{100 * float(str(figures['texts_differ'])):g} %", figures["judge"]]
    shown = [*map(str, context), *map(rates, ("passes_at_margin", "fails_at_margin", "passes_unchanged"))]
    return "| " + " | ".join([*shown, str(figures["labels"])]) + " |"


def main() -> int:
    """Print every cell; return 1 where one is above the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print rows of a Markdown table instead")
    arguments = parser.parse_args()
    kept = []
    for figures in cells(arguments.draws, arguments.seed):
        print(table_row(figures) if arguments.table else json.dumps(figures))
        kept.append(figures["ok"])
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())
