"""Simulation: the 95 % intervals cover the truth in 93 to 97 % of 2,000 simulated pairs of models.

Those by resampling are cautious by design, so they may cover it up to 99 % of the time; 400 pairs are drawn there.
"""

from __future__ import annotations

import numpy as np
import pytest

from leaderboards.statistics import PairedSample, mean_bounds, paired_ratio_interval, score_bound

Z95 = 1.959963984540054
PAIRS = 2000
FEWER_PAIRS = 400

# P(both), P(lost), P(gained), P(neither)
MODELS = {
    "few changes": (0.75, 0.04, 0.02, 0.19),
    "forgetful": (0.55, 0.20, 0.05, 0.20),
    "near chance": (0.10, 0.10, 0.10, 0.70),
}


def draw(n: int, model: str) -> np.ndarray:
    """Tables of 2,000 simulated pairs, shape (pairs, 4)."""
    return np.random.default_rng([n, list(MODELS).index(model)]).multinomial(n, MODELS[model], size=PAIRS)


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("model", MODELS)
def test_tango_interval_covers(n: int, model: str) -> None:
    table = draw(n, model)
    truth = MODELS[model][1] - MODELS[model][2]
    lower, upper = score_bound(table[:, 1], table[:, 2], n, Z95)
    assert 0.93 <= np.mean((lower <= truth) & (truth <= upper)) <= 0.97


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("model", MODELS)
def test_retention_interval_covers(n: int, model: str) -> None:
    both, lost, gained, _ = MODELS[model]
    truth = (both + gained) / (both + lost)
    intervals = [paired_ratio_interval(*map(int, row[:3]), n) for row in draw(n, model)]
    assert 0.93 <= np.mean([(i.lower or 0) <= truth <= (i.upper or np.inf) for i in intervals]) <= 0.97


@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_partial_credit_interval_covers(n: int) -> None:
    generator = np.random.default_rng(n)
    base = generator.beta(4, 2, size=(FEWER_PAIRS // 2, n))
    candidate = np.clip(base - generator.normal(0.05, 0.2, size=base.shape), 0, 1)
    truth = (base - candidate).mean()
    samples = [PairedSample.from_scores(first, second) for first, second in zip(base, candidate, strict=True)]
    assert np.mean([_covers(sample, truth) for sample in samples if sample]) >= 0.94


def test_clustered_interval_covers_where_the_naive_one_does_not() -> None:
    images = 100
    # Four questions an image; the candidate fails whole images, so that a question tells little beyond its image.
    generator = np.random.default_rng(images)
    clusters = np.repeat(np.arange(images), 4)
    kept = generator.random((PAIRS, images)) < 0.9
    base = (generator.random((PAIRS, images * 4)) < 0.8).astype(float)
    candidate = base * np.repeat(kept, 4, axis=1)
    truth = 0.8 * 0.1
    covered = {}
    for name, groups, pairs in (("clustered", clusters, FEWER_PAIRS), ("naive", None, PAIRS // 4)):
        samples = [PairedSample.from_scores(base[i], candidate[i], groups) for i in range(pairs)]
        covered[name] = np.mean([_covers(sample, truth) for sample in samples if sample])
    assert 0.94 <= covered["clustered"] <= 0.99
    assert covered["naive"] < 0.85


def test_mean_over_tasks_covers() -> None:
    truth = np.mean([MODELS[model][1] - MODELS[model][2] for model in MODELS])
    estimates = []
    for model in MODELS:
        table = draw(100, model)
        lower, upper = score_bound(table[:, 1], table[:, 2], 100, Z95)
        estimates.append(np.stack([lower, (table[:, 1] - table[:, 2]) / 100, upper], axis=1))
    bounds = [mean_bounds([tuple(part) for part in parts]) for parts in zip(*estimates, strict=True)]
    assert 0.93 <= np.mean([lower <= truth <= upper for lower, upper in bounds]) <= 0.97


def _covers(sample: PairedSample, truth: float) -> bool:
    drop = sample.drop()
    return drop.lower is not None and drop.upper is not None and drop.lower <= truth <= drop.upper
