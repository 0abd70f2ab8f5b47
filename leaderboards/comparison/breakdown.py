"""What changed inside a task: where lost answers went, class by class, and how the answers drifted."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from math import log

import numpy as np
import polars as pl
from scipy.special import stdtrit

from leaderboards.comparison.scales import POINTS, Scale
from leaderboards.statistics import Interval, PairedSample, jensen_shannon, score_bound
from leaderboards.statistics.interval import normal_quantile

LEAKAGE = "leakage"


@dataclass(frozen=True, slots=True)
class Flips:
    """Documents whose score changed: `lost` fell, `gained` rose.

    `lost_to` counts the candidate's answers to the lost ones by category, `gained_from` the base's answers to the
    gained ones; extrinsic answers that leak count as "leakage" if asked for.
    """

    lost: int
    gained: int
    lost_to: Mapping[str, int]
    gained_from: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ClassComparison:
    """One class of a task: accuracies in percent, forgetting in percentage points, or both in the metric's unit."""

    name: str
    n: int
    base: float
    candidate: float
    forgetting: Interval


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the distribution of the answers' labels moved, in bits: 0 not at all, 1 no answer in common.

    `noise` is the average over as many documents for two models with the same distribution that answer independently of
    each other: (k − 1)/(4·n·ln 2) for k different answers.
    """

    divergence: Interval
    answers: int
    noise: float


def count_flips(frame: pl.DataFrame, leaked: Mapping[str, Set[int]] | None = None) -> Flips:
    """Count the documents of a `PairedTask.frame` that were lost and gained.

    `leaked` holds each side's leaking documents ("base", "candidate"), if leakage is counted separately.
    """
    lost = frame.filter(pl.col("base_score") > pl.col("candidate_score"))
    gained = frame.filter(pl.col("base_score") < pl.col("candidate_score"))

    def categories(rows: pl.DataFrame, side: str) -> dict[str, int]:
        category = pl.col(f"{side}_category")
        if leaked is not None:
            leaks = (category == "extrinsic") & pl.col("doc_id").is_in(sorted(leaked[side]))
            category = pl.when(leaks).then(pl.lit(LEAKAGE)).otherwise(category)
        counts = rows.group_by(category.alias("category")).len().sort("category")
        return dict(counts.iter_rows())

    return Flips(lost.height, gained.height, categories(lost, "candidate"), categories(gained, "base"))


def compare_classes(
    frame: pl.DataFrame, sample: PairedSample, scale: Scale = POINTS, *, level: float = 0.95
) -> tuple[ClassComparison, ...]:
    """Compare class by class, worst first; empty if documents have no class or no two share one.

    0/1 scores: Tango's score interval; others: Student's t. Neither corrects for the number of classes, nor for
    clusters within one.
    """
    base, candidate = pl.col("base_score"), pl.col("candidate_score")
    rows = (
        frame.drop_nulls("class")
        .group_by("class")
        .agg(
            n=pl.len(),
            base=base.mean(),
            candidate=candidate.mean(),
            lost=(base > candidate).sum(),
            gained=(base < candidate).sum(),
            spread=(base - candidate).std(),
        )
    )
    if rows.is_empty() or int(rows["n"].to_numpy().max()) < 2:
        return ()
    n = rows["n"].to_numpy().astype(np.float64)
    if sample.binary:
        method = "Tango score"
        lower, upper = score_bound(rows["lost"], rows["gained"], n, normal_quantile((1 - level) / 2))
    else:
        method = "paired t"
        half = stdtrit(n - 1, (1 + level) / 2) * rows["spread"].fill_null(float("nan")).to_numpy() / np.sqrt(n)
        drop = (rows["base"] - rows["candidate"]).to_numpy()
        lower, upper = drop - half, drop + half
    bounds = rows.with_columns(
        drop=pl.col("base") - pl.col("candidate"),
        lower=pl.Series(lower, nan_to_null=True),
        upper=pl.Series(upper, nan_to_null=True),
    )
    return tuple(
        ClassComparison(
            name=row["class"],
            n=row["n"],
            base=scale.low + scale.span * row["base"],
            candidate=scale.low + scale.span * row["candidate"],
            forgetting=Interval(row["drop"], row["lower"], row["upper"], row["n"], level, method).scaled(scale.span),
        )
        for row in bounds.sort(["drop", "n", "class"], descending=[True, True, False]).iter_rows(named=True)
    )


def measure_drift(frame: pl.DataFrame, *, level: float = 0.95) -> Drift | None:
    """Compare the labels that the two models' answers name; None if the task logs no verdicts."""
    answers = frame.select("base_answer", "candidate_answer").drop_nulls()
    if answers.is_empty():
        return None
    cells = answers.group_by("base_answer", "candidate_answer").len().sort("base_answer", "candidate_answer")
    names = pl.concat([cells["base_answer"], cells["candidate_answer"].alias("base_answer")]).unique().sort()
    number = {name: index for index, name in enumerate(names.to_list())}
    pairs = np.array(
        [(number[base], number[candidate]) for base, candidate, _ in cells.iter_rows()], dtype=np.int64
    ).reshape(-1, 2)
    divergence = jensen_shannon(pairs, cells["len"].to_numpy().astype(np.int64), level=level)
    return Drift(divergence, len(names), (len(names) - 1) / (4 * answers.height * log(2)))
