"""Group sequential boundaries against published ones, and what follows from them."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from leaderboards.statistics.sequential import boundaries, crossing, either_side, level_at, repeated_p_value, spent

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_all_of_alpha_is_spent_at_the_end_and_almost_none_early() -> None:
    assert spent(0.05, 1.0) == pytest.approx(0.05)
    # 2 − 2Φ(1.95996 / √0.25) = 2 − 2Φ(3.91993) = 8.8575e-5, as SeqBounds.jl prints it for one-sided 5 %.
    assert spent(0.05, 0.25) == pytest.approx(8.85754e-5, rel=1e-4)


@pytest.mark.parametrize(
    ("alpha", "fractions", "published"),
    [
        # gsDesign(alpha = .025, k = 3, test.type = 1, sfu = sfLDOF, timing = c(.5, .75, 1))$upper$bound
        # (keaven.github.io/gsdmvn/reference/gs_b.html).
        (0.025, [0.5, 0.75, 1.0], [2.962588, 2.359018, 2.014084]),
        # Lan and DeMets' five looks, two-sided 5 %: Jennison and Turnbull 2000, and every program since.
        (0.025, FIFTHS, [4.877, 3.357, 2.680, 2.290, 2.031]),
        # SeqBounds.jl's README, one-sided 5 %; its grid is exact to 4e-5.
        (0.05, [0.25, 0.5, 0.75, 1.0], [3.74955, 2.53993, 2.01604, 1.72014]),
    ],
)
def test_boundaries_are_the_published_ones(alpha: float, fractions: list[float], published: list[float]) -> None:
    assert boundaries(alpha, fractions) == pytest.approx(published, abs=5e-4 if published[0] == 4.877 else 5e-5)


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    # Jennison and Turnbull 2000, tables 2.1 and 2.3, two-sided 5 %: the constant boundary, and that at the last look of
    # one that falls by the square root of the fraction. Each side has 2.5 %.
    [(2, 2.178, 1.977), (5, 2.413, 2.040), (10, 2.555, 2.087)],
)
def test_boundaries_of_the_tables_are_crossed_as_often_as_these_say(
    looks: int, pocock: float, obrien_fleming: float
) -> None:
    fractions = [(number + 1) / looks for number in range(looks)]
    # Three decimals of a boundary are ± 0.0005 · φ(2.1) ≈ 2e-5 at each of few looks.
    assert sum(crossing([pocock] * looks, fractions)) == pytest.approx(0.025, abs=7e-5)
    falling = [obrien_fleming / sqrt(fraction) for fraction in fractions]
    assert sum(crossing(falling, fractions)) == pytest.approx(0.025, abs=7e-5)


def test_chances_are_those_of_the_multivariate_normal_distribution() -> None:
    fractions, bounds = [0.3, 0.5, 1.0], [2.2, 1.9, 1.5]
    # Cov(Zᵢ, Zⱼ) = √(tᵢ / tⱼ) for tᵢ ≤ tⱼ.
    covariance = [[sqrt(min(s, t) / max(s, t)) for t in fractions] for s in fractions]
    stays = [1.0] + [
        multivariate_normal([0] * k, np.array(covariance)[:k, :k], abseps=1e-9, releps=1e-9).cdf(bounds[:k])
        for k in (1, 2, 3)
    ]
    assert crossing(bounds, fractions) == pytest.approx([-b for b in np.diff(stays)], abs=1e-7)


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 9])
def test_each_look_spends_what_it_may(alpha: float) -> None:
    fractions = [(number + 1) / 10 for number in range(10)]
    used = np.cumsum(crossing(list(boundaries(alpha, fractions)), fractions))
    assert used == pytest.approx([float(spent(alpha, fraction)) for fraction in fractions], abs=1e-9)


def test_many_levels_at_once_are_those_of_one_by_one() -> None:
    levels = [0.01, 0.05]
    together = boundaries(levels, FIFTHS)
    assert together.shape == (2, 5)
    assert together == pytest.approx(np.array([boundaries(level, FIFTHS) for level in levels]))


@given(st.integers(1, 10), st.floats(1e-8, 0.25))
def test_a_p_value_at_its_boundary_is_worth_the_level(look: int, alpha: float) -> None:
    at = level_at(alpha, look, 10)
    assert at <= alpha
    if at > 1e-100:
        assert repeated_p_value(at, look, 10) == pytest.approx(alpha, rel=2e-3)


@given(st.integers(1, 10), st.floats(1e-10, 0.2), st.floats(1.0, 4.0))
def test_repeated_p_values_rise_with_the_p_value_and_are_never_smaller(look: int, p: float, times: float) -> None:
    assert p * (1 - 1e-3) <= repeated_p_value(p, look, 10) <= repeated_p_value(min(p * times, 1.0), look, 10) <= 1.0


def test_p_values_at_the_ends_are_one_and_almost_nothing() -> None:
    assert repeated_p_value(1.0, 3, 10) == 1.0
    assert 0 < repeated_p_value(0.0, 3, 10) < 1.1e-12
    # A single look is a fixed sample: p stays p, and two sides stay two sides.
    assert repeated_p_value(0.03, 1, 1) == pytest.approx(0.03, rel=1e-3)
    assert either_side(0.04, 1, 1) == pytest.approx(0.04, rel=1e-3)
    assert either_side(1.0, 5, 10) == 1.0


def test_the_looks_together_err_as_often_as_alpha_says() -> None:
    # A random walk at the margin, looked at ten times, draws fixed: 5 % ± 2·√(0.05·0.95/40,000) = ± 0.2 points.
    steps = np.random.default_rng(2).standard_normal((40_000, 10)).cumsum(axis=1)
    scores = steps / np.sqrt(np.arange(1, 11))
    levels = np.array([level_at(0.05, look, 10) for look in range(1, 11)])
    assert (ndtr(-scores) <= levels).any(axis=1).mean() == pytest.approx(0.05, abs=0.0025)
    # Unadjusted, nearly four times as often.
    assert (ndtr(-scores) <= 0.05).any(axis=1).mean() > 0.15
