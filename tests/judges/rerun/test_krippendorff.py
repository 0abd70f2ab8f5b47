"""Krippendorff's alpha, worked by hand and against its definition."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judges.rerun.krippendorff import MISSING, Alpha, krippendorff

# Krippendorff (2011), section C: four observers, twelve units, five categories; a dot is missing.
OBSERVERS = ("12332141 2...", "12332241 25.3", ".3332342 251.", "12332441 251.")


def alpha(rows, **arguments) -> Alpha:
    codes = np.array(rows).reshape(len(rows), -1) if rows else np.zeros((0, 2), dtype=int)
    return krippendorff(codes, np.random.default_rng(0), **arguments)


def test_the_example_of_the_paper():
    """Of unit 12 there is one value: it is left out, so that n = 40 values of 11 units remain.

    n_c, from category 1: 9, 13, 10, 5, 3. Unit 2 holds 2 2 3 2, unit 6 holds 1 2 3 4, unit 8 holds 1 1 2 1; the others
    agree. n·D_o = (3·1 + 1·3)/3 + 4·(1·3)/3 + (3·1 + 1·3)/3 = 8. n(n − 1)·D_e = 9·31 + 13·27 + 10·30 + 5·35 + 3·37
    = 1216. alpha = 1 − 39·8/1216 = 0.743.
    """
    columns = [[MISSING if value == "." else int(value) for value in row.replace(" ", "")] for row in OBSERVERS]
    got = alpha(list(zip(*columns, strict=True)))
    assert got.answers == 11
    assert got.alpha == pytest.approx(1 - 39 * 8 / 1216)
    assert round(got.alpha, 3) == 0.743
    low, high = got.interval
    assert low < got.alpha < high <= 1


def test_two_judges_and_two_categories():
    """Ten answers; the judges differ on four, 0/1 on two and 1/0 on two; 14 of 20 values are 0.

    D_o = 4/10. D_e = 2·14·6/(20·19) = 168/380. alpha = 1 − 0.4·380/168 = 0.095.
    """
    rows = [(0, 0)] * 5 + [(1, 1)] * 1 + [(0, 1)] * 2 + [(1, 0)] * 2
    assert alpha(rows).alpha == pytest.approx(1 - 0.4 * 380 / 168)


def test_missing_values_leave_the_pairs_that_remain():
    """Three answers with 2, 3 and 1 values: the last is left out; n = 5, values 0 0 | 0 1 1.

    n·D_o = 0 + (1·2 + 2·1)/2 = 2. n_c = 3, 2: n(n − 1)·D_e = 3·2 + 2·3 = 12. alpha = 1 − 4·2/12 = 1/3.
    """
    rows = [(0, 0, MISSING), (0, 1, 1), (MISSING, 1, MISSING)]
    got = alpha(rows)
    assert (got.answers, got.alpha) == (2, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], Alpha(0, None, None)),
        ([(0, MISSING), (MISSING, 1), (MISSING, MISSING)], Alpha(0, None, None)),  # no pair
        ([(2, 2), (2, 2), (2, MISSING)], Alpha(2, None, None)),  # no variation: 0/0
        ([(0, 1)], Alpha(1, 0.0, None)),  # D_o = 1, D_e = 2·1·1/(2·1) = 1; one answer has no interval
        ([(0, 0), (1, 1)], Alpha(2, 1.0, (1.0, 1.0))),
    ],
)
def test_edge_cases(rows, expected):
    assert alpha(rows) == expected


def test_the_same_generator_gives_the_same_interval_and_another_nearly_the_same():
    drawn = np.random.default_rng(5)
    truth = drawn.integers(0, 4, 2000)
    codes = np.where(drawn.random((2000, 3)) < 0.8, truth[:, None], drawn.integers(0, 4, (2000, 3)))
    one, again = (krippendorff(codes, np.random.default_rng(1)) for _ in range(2))
    other = krippendorff(codes, np.random.default_rng(2))
    assert one == again
    assert one.interval != other.interval
    assert one.interval == pytest.approx(other.interval, abs=0.003)


def test_the_interval_is_that_of_resampled_answers():
    """The bootstrap as it is defined, answer by answer, gives the interval up to the noise of 2,000 draws each."""
    drawn = np.random.default_rng(3)
    truth = drawn.integers(0, 3, 120)
    codes = np.where(drawn.random((120, 4)) < 0.7, truth[:, None], drawn.integers(0, 3, (120, 4)))
    codes[drawn.random(codes.shape) < 0.1] = MISSING
    codes = codes[(codes >= 0).sum(axis=1) >= 2]
    resampled = [
        krippendorff(codes[drawn.integers(0, len(codes), len(codes))], drawn, resamples=1).alpha for _ in range(2000)
    ]
    assert alpha(codes.tolist()).interval == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.02)


@pytest.mark.slow
def test_the_interval_covers_the_truth():
    """Of 300 samples of 200 answers from one population, about 95 % have an interval that holds its alpha."""
    drawn = np.random.default_rng(7)

    def sample(size):
        truth = drawn.choice(4, size, p=[0.6, 0.2, 0.1, 0.1])
        return np.where(drawn.random((size, 3)) < 0.75, truth[:, None], drawn.choice(4, (size, 3)))

    population = krippendorff(sample(1_000_000), drawn, resamples=2).alpha
    intervals = [krippendorff(sample(200), drawn).interval for _ in range(300)]
    assert 0.91 <= np.mean([low <= population <= high for low, high in intervals]) <= 0.98


def by_definition(rows) -> float | None:
    """1 − D_o/D_e over ordered pairs: within answers, each weighted by 1/(m − 1), and over all values."""
    units = [[value for value in row if value >= 0] for row in rows]
    units = [unit for unit in units if len(unit) >= 2]
    values = [value for unit in units for value in unit]
    n = len(values)
    if len(set(values)) < 2:
        return None
    observed = sum(sum(x != y for x, y in permutations(unit, 2)) / (len(unit) - 1) for unit in units) / n
    expected = sum(x != y for x, y in permutations(values, 2)) / (n * (n - 1))
    return 1 - observed / expected


ROWS = st.integers(2, 5).flatmap(
    lambda judges: st.lists(st.lists(st.integers(-1, 3), min_size=judges, max_size=judges), min_size=1, max_size=12)
)


@given(ROWS)
def test_it_is_one_minus_observed_by_expected_disagreement(rows):
    got, expected = alpha(rows, resamples=2).alpha, by_definition(rows)
    assert got is None if expected is None else got == pytest.approx(expected)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_judges_and_answers_and_the_labels_do_not_matter(rows, random):
    before = alpha(rows, resamples=2).alpha
    order = random.sample(range(len(rows[0])), len(rows[0]))
    names = dict(zip(range(4), random.sample(range(9), 4), strict=True)) | {-1: -1}
    changed = [[names[row[place]] for place in order] for row in random.sample(rows, len(rows))]
    after = alpha(changed, resamples=2).alpha
    assert (before is None) == (after is None)
    assert before is None or after == pytest.approx(before)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=20).filter(lambda labels: len(set(labels)) > 1))
@settings(max_examples=30)
def test_judges_that_always_agree_have_one(labels):
    got = alpha([[label] * 3 for label in labels], resamples=50)
    assert (got.alpha, got.interval) == (1.0, (1.0, 1.0))
