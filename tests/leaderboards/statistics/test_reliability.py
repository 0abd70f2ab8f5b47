"""Expected calibration error, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.statistics.reliability import reliability


def test_by_hand():
    """Two bins: 0.75 of which half is right (0.25 off), 0.95 of which all are (0.05 off)."""
    found = reliability([0.72, 0.78, 0.95, 0.95], [True, False, True, True])
    assert found and found.error == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)
    assert [(one.probability, one.right.estimate, one.right.n) for one in found.bins] == [
        (pytest.approx(0.75), 0.5, 2),
        (pytest.approx(0.95), 1.0, 2),
    ]


def test_nothing_has_no_reliability():
    assert reliability([], []) is None


def test_what_is_no_number_is_left_out():
    found = reliability([float("nan"), 0.9], [True, True])
    assert found and found.n == 1 and found.error == pytest.approx(0.1)
    assert reliability([float("nan")], [True]) is None


def test_a_border_belongs_to_the_bin_below():
    found = reliability([0.5, 0.500001, 0.0, 1.0], [True] * 4)
    assert found and [one.right.n for one in found.bins] == [1, 1, 1, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_is_between_the_mean_difference_and_one(pairs):
    probabilities, right = zip(*pairs, strict=True)
    found = reliability(probabilities, right)
    assert found is not None and found.n == len(pairs) == sum(one.right.n for one in found.bins)
    mean = abs(sum(probabilities) - sum(right)) / len(pairs)
    assert mean - 1e-9 <= found.error <= 1
