"""Every statistic against published worked examples, hand-worked ones, and statsmodels where it has the same."""

from __future__ import annotations

import warnings
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboards.statistics import (
    Interval,
    MeanOfSamples,
    PairedSample,
    design_effect,
    holm,
    jensen_shannon,
    mcnemar,
    mean_bounds,
    mean_covariance,
    paired_ratio_interval,
    ratio_of_means,
    score_bound,
    score_statistic,
    wilson_interval,
)

Z95 = 1.959963984540054
counts = st.integers(0, 400)


def rounded(interval: Interval, digits: int) -> tuple[float, float]:
    assert interval.lower is not None
    assert interval.upper is not None
    return round(interval.lower, digits), round(interval.upper, digits)


@pytest.mark.parametrize(
    ("table", "level", "digits", "expected"),
    [
        # Tables are (both, only first, only second, neither).
        ((4, 9, 3, 16), 0.95, 3, (-0.027, 0.390)),  # Tango 1998
        ((43, 0, 1, 0), 0.90, 3, (-0.096, 0.037)),  # Tango 1998, the 90 % interval of an equivalence trial
        ((53, 16, 8, 9), 0.95, 3, (-0.020, 0.207)),  # Agresti and Min 2005
        ((1, 1, 7, 12), 0.95, 3, (-0.517, -0.026)),  # Fagerland, Lydersen and Laake 2014, table II
        ((8, 3, 1, 2), 0.95, 4, (-0.1670, 0.4327)),  # Tang et al. 2010
        ((7, 25, 2, 68), 0.95, 3, (0.139, 0.321)),  # Chang et al. 2024
    ],
)
def test_tango_interval_matches_published_examples(
    table: tuple[int, int, int, int], level: float, digits: int, expected: tuple[float, float]
) -> None:
    _, lost, gained, _ = table
    bounds = score_bound(lost, gained, sum(table), NormalDist().inv_cdf((1 + level) / 2))
    assert tuple(round(float(bound), digits) for bound in bounds) == expected


def test_ratio_interval_matches_published_example() -> None:
    # Fagerland, Lydersen and Laake 2017, chapter 8 (Cavo et al.): 65 / 75 = 0.8667 (0.7579 to 0.9910)
    interval = paired_ratio_interval(both=59, lost=16, gained=6, n=161)
    assert round(interval.estimate or 0, 4) == 0.8667
    assert rounded(interval, 4) == (0.7579, 0.9910)


def test_ratio_interval_edges() -> None:
    assert paired_ratio_interval(0, 0, 5, 10).estimate is None  # the base never right
    forgotten = paired_ratio_interval(0, 5, 0, 10)
    assert (forgotten.estimate, forgotten.lower) == (0.0, 0.0)
    assert 0 < (forgotten.upper or 0) < 1


def test_wilson_matches_statsmodels_and_hand() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for successes, n in ((0, 20), (1, 29), (15, 148), (20, 20)):
        expected = proportion_confint(successes, n, method="wilson")
        assert rounded(wilson_interval(successes, n), 12) == pytest.approx(expected, abs=1e-11)
    # 15 of 148 (Newcombe 1998): 0.0624 to 0.1605
    assert rounded(wilson_interval(15, 148), 4) == (0.0624, 0.1605)
    # Half of 400 at design effect 4 is half of 100: 0.5 ± about 0.0962.
    assert wilson_interval(200, 400, design_effect=4).lower == pytest.approx(wilson_interval(50, 100).lower)
    assert wilson_interval(0, 0) == Interval(None, None, None, 0, 0.95, "Wilson score")


def test_score_statistic_by_hand() -> None:
    # At a difference of 0, q = (lost + gained) / 2n, and Z is McNemar's (b − c)/√(b + c): (10 − 4)/√14 = 1.6036
    assert float(score_statistic(10, 4, 100, 0.0)) == pytest.approx(6 / sqrt(14))
    # lost 3, gained 1, n 20, δ = 0.05: 40q² + ((40 − 3 + 1)·0.05 − 4)q − 0.05·0.95 = 0, that is
    # 40q² − 2.1q − 0.0475 = 0, q = (2.1 + √(4.41 + 7.6))/80 = 0.069569; the variance of b − c is
    # 20·(2·0.069569 + 0.0475) = 3.732764, and Z = (2 − 1)/√3.732764 = 0.517589
    assert float(score_statistic(3, 1, 20, 0.05)) == pytest.approx(0.517589, abs=1e-6)
    # A correction of half a sample takes half from the numerator: Z = 0.5/√3.732764
    assert float(score_statistic(3, 1, 20, 0.05, correction=0.5)) == pytest.approx(0.258794, abs=1e-6)


def test_score_bound_without_any_change() -> None:
    # With b = c = 0 the bound solves n·δ² / (n·δ(1 − δ)) · n/n = z²/n: δ = z²/(n + z²) = 3.8415/103.8415 = 0.036994
    lower, upper = score_bound(0, 0, 100, Z95)
    assert float(upper) == pytest.approx(Z95**2 / (100 + Z95**2))
    assert float(lower) == -float(upper)


@settings(deadline=None)
@given(lost=counts, gained=counts, same=counts, correction=st.sampled_from([0.0, 0.5]))
def test_score_bounds_hold_what_they_claim(lost: int, gained: int, same: int, correction: float) -> None:
    n = lost + gained + same
    if n == 0:
        return
    lower, upper = (float(bound) for bound in score_bound(lost, gained, n, Z95, correction=correction))
    assert -1 <= lower <= (lost - gained) / n <= upper <= 1
    mirrored = score_bound(gained, lost, n, Z95, correction=correction)
    assert (lower, upper) == (-float(mirrored[1]), -float(mirrored[0]))
    if lower > -1:  # on the bound the statistic equals its quantile
        assert float(score_statistic(lost, gained, n, lower, correction=correction)) == pytest.approx(Z95, abs=1e-4)


@settings(deadline=None)
@given(lost=counts, gained=counts)
def test_mcnemar_matches_statsmodels(lost: int, gained: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as reference

    expected = reference([[0, lost], [gained, 0]], exact=True).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_by_hand() -> None:
    # 1 lost, 7 gained: 2·(1 + 8)/2⁸ = 18/256 = 0.0703; mid-p takes P(X = 1) = 8/256 off: 10/256 = 0.0391
    # (Fagerland, Lydersen and Laake 2013, airway hyper-responsiveness).
    assert mcnemar(1, 7) == pytest.approx(18 / 256)
    assert mcnemar(1, 7, mid_p=True) == pytest.approx(10 / 256)
    # 3 and 3: exact 1; mid-p 1 − P(X = 3)/2 = 1 − 20/64/2 = 0.84375
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(3, 3, mid_p=True) == pytest.approx(1 - comb(6, 3) / 64 / 2)
    assert mcnemar(0, 0) == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_matches_statsmodels(values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, made monotone 0.04, 0.06, 0.06, 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []


def test_clustered_variance_by_hand() -> None:
    # Values 1, 1, 0, 0 in two clusters of two: mean 0.5, residuals ±0.5, cluster sums 1 and −1.
    # V = 2/(2 − 1)·(1 + 1)/16 = 0.25. Independent: 4/3·(4·0.25)/16 = 1/12.
    # Design effect, with half a cluster of two: (2/1·2 + 2²/2) / (4/3·1 + 2/2) = 6 / (7/3) = 18/7.
    values = np.array([[1.0], [1.0], [0.0], [0.0]])
    clustered = float(mean_covariance(values, np.array([0, 0, 1, 1]))[0, 0])
    independent = float(mean_covariance(values)[0, 0])
    assert clustered == pytest.approx(0.25)
    assert independent == pytest.approx(1 / 12)
    clusters = np.array([0, 0, 1, 1])
    assert design_effect(values[:, 0], clusters) == pytest.approx(18 / 7)
    # Nothing differs: as many documents as there are clusters.
    assert design_effect(np.ones(4), clusters) == pytest.approx(2)
    assert design_effect(values[:, 0], None) == 1.0
    assert np.isnan(mean_covariance(values, np.zeros(4, dtype=np.int64))).all()


def test_clustered_variance_matches_statsmodels() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import statsmodels.api as sm

    generator = np.random.default_rng(1)
    clusters = np.sort(generator.integers(0, 30, 200))
    _, clusters = np.unique(clusters, return_inverse=True)
    values = generator.normal(size=200) + generator.normal(size=30)[clusters]
    fit = sm.OLS(values, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    ours = mean_covariance(values[:, None], clusters.astype(np.int64))
    assert sqrt(float(ours[0, 0])) == pytest.approx(float(fit.bse[0]))


def test_mean_bounds_by_hand() -> None:
    # Two estimates 1 ± 3 and 3 ± 4: mean 2 ± √(9 + 16)/2 = 2 ± 2.5.
    assert mean_bounds([(-2.0, 1.0, 4.0), (-1.0, 3.0, 7.0)]) == pytest.approx((-0.5, 4.5))


def test_jensen_shannon_by_hand() -> None:
    # p = (1/2, 1/2, 0), q = (1/2, 0, 1/2), m = (1/2, 1/4, 1/4):
    # ½·(½·log₂1 + ½·log₂2) + ½·(½·log₂1 + ½·log₂2) = ½·½ + ½·½ = 0.5 bit
    pairs, times = np.array([[0, 0], [1, 2]]), np.array([50, 50])
    assert jensen_shannon(pairs, times).estimate == pytest.approx(0.5)
    # Influence of (0, 0) is 0, of (1, 2) is ½·1 + ½·1 = 1: variance 0.25, half width 1.96·√(0.25/100) = 0.098
    assert rounded(jensen_shannon(pairs, times), 3) == (0.402, 0.598)
    assert jensen_shannon(np.array([[0, 0]]), np.array([7])).estimate == 0.0
    assert jensen_shannon(np.array([[0, 1]]), np.array([7])).estimate == 1.0
    assert jensen_shannon(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.int64)).estimate is None


def test_jensen_shannon_matches_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    pairs, times = np.array([[0, 1], [1, 1], [2, 0], [2, 2]]), np.array([3, 9, 2, 6])
    p, q = np.array([3, 9, 8]) / 20, np.array([2, 12, 6]) / 20
    assert jensen_shannon(pairs, times).estimate == pytest.approx(jensenshannon(p, q, base=2) ** 2)


def sample(base: list[float], candidate: list[float], clusters: list[int] | None = None) -> PairedSample:
    summed = PairedSample.from_scores(
        np.array(base, dtype=np.float64),
        np.array(candidate, dtype=np.float64),
        None if clusters is None else np.array(clusters, dtype=np.int64),
    )
    assert summed is not None
    return summed


def test_sample_counts_by_hand() -> None:
    summed = sample([1, 1, 1, 0, 0], [1, 0, 0, 1, 0])
    assert (summed.both, summed.lost, summed.gained, summed.n) == (1, 2, 1, 5)
    assert summed.difference == pytest.approx(0.2)
    assert summed.binary
    assert summed.design_effect == 1.0
    assert PairedSample.from_scores(np.empty(0), np.empty(0)) is None


def test_doubling_every_document_as_a_cluster_changes_little() -> None:
    # Each document twice in one cluster says no more than once: the interval is that of the single ones, a little wider
    # since the test of clusters is cautious.
    base, candidate = [1, 1, 1, 0] * 50, [1, 1, 0, 0] * 49 + [0, 1, 1, 1]
    once = sample(base, candidate)
    twice = sample(base * 2, candidate * 2, list(range(200)) * 2)
    naive = sample(base * 2, candidate * 2)
    assert twice.design_effect == pytest.approx(2, rel=0.05)
    widths = [(drop.upper or 0) - (drop.lower or 0) for drop in (once.drop(), twice.drop())]
    assert 1 < widths[1] / widths[0] < 1.15
    assert (naive.drop().upper or 0) < (once.drop().upper or 0) - 5e-3
    assert twice.method == "tilted resampling, 200 clusters"


def test_scores_that_never_differ_are_bounded_by_their_number() -> None:
    # All of the null's drop lies in lost documents: 1.6·(1 − δ)^100 = 0.025 where δ = 1 − (0.025/1.6)^0.01 = 0.04073.
    unchanged = sample([0.5] * 100, [0.5] * 100)
    assert unchanged.drop().upper == pytest.approx(0.04073, rel=0.01)
    assert unchanged.drop().method == "tilted resampling"


def test_a_constant_shift_could_be_more_or_less() -> None:
    # A share q of documents may be lost entirely, or gained: 1.6·(1 − q)^100 = 0.025, q = 0.04073; then the drop is
    # 0.25 + 0.75·q = 0.2805, or 0.25 − 1.25·q = 0.1991.
    shifted = sample([0.75] * 100, [0.5] * 100)
    drop = shifted.drop()
    assert (drop.lower, drop.upper) == (pytest.approx(0.1991, abs=1e-3), pytest.approx(0.2805, abs=1e-3))
    p_values = shifted.p_values(0.2805)
    assert p_values is not None
    assert p_values[0] == pytest.approx(0.025, rel=0.02)
    assert shifted.p_no_change() == (pytest.approx(0, abs=1e-6), "tilted resampling")


def test_one_cluster_says_nothing() -> None:
    one = sample([1, 1, 0], [0, 1, 1], [0, 0, 0])
    assert one.bounds(0.05) is None
    assert one.p_values(0.02) is None


@settings(deadline=None)
@given(lost=counts, gained=counts, same=st.integers(1, 400), margin=st.floats(0.001, 0.3))
def test_p_values_and_bounds_agree(lost: int, gained: int, same: int, margin: float) -> None:
    from leaderboards.statistics.paired import CORRECTION

    summed = sample([1] * lost + [0] * gained + [1] * same, [0] * lost + [1] * gained + [1] * same)
    bounds = summed.bounds(0.05, correction=CORRECTION)
    p_values = summed.p_values(margin)
    assert bounds is not None
    assert p_values is not None
    if abs(bounds[1] - margin) > 1e-9:
        assert (p_values[0] < 0.05) == (bounds[1] < margin)
    if abs(bounds[0] - margin) > 1e-9:
        assert (p_values[1] < 0.05) == (bounds[0] > margin)


def test_mean_of_tasks() -> None:
    parts = (sample([1] * 90 + [0] * 10, [1] * 80 + [0] * 20), sample([1, 0] * 100, [1, 0] * 100))
    pooled = MeanOfSamples(parts)
    # Drops of 10 points and 0 points: 5 on average; bounds by MOVER from each one's own.
    assert pooled.difference == pytest.approx(0.05)
    assert pooled.n == 300
    expected = mean_bounds([(*_bounds(part),) for part in parts])
    assert (pooled.drop().lower, pooled.drop().upper) == pytest.approx(expected)
    assert MeanOfSamples(parts[:1]).drop() == parts[0].drop()
    assert MeanOfSamples(parts[:1]).p_values(0.02) == parts[0].p_values(0.02)
    p_values = pooled.p_values(0.02)
    bounds = pooled.bounds(p_values[1] if p_values else 0, correction=0.5)
    assert bounds is not None
    assert bounds[0] == pytest.approx(0.02, abs=1e-6)  # the p-value is the level whose bound meets the margin


def test_tasks_that_share_documents_vary_as_one() -> None:
    generator = np.random.default_rng(6)
    base, kept = generator.random(400) < 0.8, generator.random(400) < 0.9
    one = PairedSample.from_scores(base.astype(float), (base & kept).astype(float))
    assert one is not None
    twice, apart = MeanOfSamples((one, one), ("a", "a")), MeanOfSamples((one, one))
    for side in ("base", "candidate"):
        same, alone = twice.accuracy(side), one.accuracy(side)
        assert (same.lower, same.upper) == pytest.approx((alone.lower, alone.upper))
        assert (apart.accuracy(side).lower or 0) > (alone.lower or 1)
    ratio = ratio_of_means(one.base, one.candidate, one.covariance, one.n)
    assert (twice.retention().lower, twice.retention().upper) == pytest.approx((ratio.lower, ratio.upper))
    assert (apart.retention().lower or 0) > (ratio.lower or 1)


def _bounds(part: PairedSample) -> tuple[float, float, float]:
    drop = part.drop()
    assert drop.lower is not None
    assert drop.estimate is not None
    assert drop.upper is not None
    return drop.lower, drop.estimate, drop.upper


def test_an_interval_turned_round_keeps_its_bounds_in_order():
    """A drop of 3 (from 1 to 6) is a gain of −3 (from −6 to −1)."""
    gain = Interval(3.0, 1.0, 6.0, 10, 0.95, "by hand").scaled(-1)
    assert (gain.estimate, gain.lower, gain.upper) == (-3.0, -6.0, -1.0)
    assert gain.ends == [-6.0, -3.0, -1.0]
    assert Interval(3.0, None, None, 10, 0.95, "by hand").scaled(-2).ends == [-6.0]
