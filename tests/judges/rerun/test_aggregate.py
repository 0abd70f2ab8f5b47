"""Means and standard errors of a results file, worked by hand."""

from __future__ import annotations

import math

import pytest

from judges.rerun.aggregate import recompute


def entry(accuracy, stderr_clt="N/A"):
    return {
        "alias": "t",
        "accuracy,none": accuracy,
        "accuracy_stderr,none": "N/A",
        "accuracy_stderr_clt,none": stderr_clt,
        "accuracy_stderr_clustered,none": "N/A",
        "exact_match,none": 0.25,
    }


def test_a_task():
    results = {"results": {"t": entry(1.0, 0.0)}}
    recompute(results, {"t": {"accuracy": [1.0, 0.0, None, 1.0, 1.0]}})
    got = results["results"]["t"]
    # Four scored: mean 3/4; squared deviations 3·(1/4)² + (3/4)² = 3/4, over n − 1 = 3: s² = 1/4, s/√4 = 1/4.
    assert got["accuracy,none"] == 0.75
    assert got["accuracy_stderr_clt,none"] == pytest.approx(0.25)
    assert got["accuracy_stderr,none"] == got["accuracy_stderr_clustered,none"] == "N/A"
    # Not a metric of the judge's: stays.
    assert got["exact_match,none"] == 0.25


def test_nothing_scored_is_none_not_zero():
    results = {"results": {"t": entry(1.0, 0.0)}}
    recompute(results, {"t": {"accuracy": [None, None]}})
    assert results["results"]["t"]["accuracy,none"] is None
    assert results["results"]["t"]["accuracy_stderr_clt,none"] == "N/A"


def grouped(group_value):
    """A group over t (1 sample, accuracy 1) and, by a sub-group, u (3 samples, accuracy 0)."""
    return {
        "results": {
            "g": {"alias": "g", "accuracy,none": group_value, "accuracy_stderr,none": "N/A"},
            "sub": {"alias": "sub", " ": " "},
            "t": entry(1.0),
            "u": entry(0.0),
        },
        "groups": {"g": {"alias": "g", "accuracy,none": group_value}},
        "n-samples": {"t": {"original": 9, "effective": 1}, "u": {"original": 9, "effective": 3}},
        "group_subtasks": {"g": ["t", "sub"], "sub": ["u"], "t": []},
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Weighted by size before: (1·1 + 3·0)/4 = 1/4. Now u's accuracy is 2/3: (1·1 + 3·2/3)/4 = 3/4.
        (0.25, 0.75),
        # Each task alike before: (1 + 0)/2 = 1/2. Now (1 + 2/3)/2 = 5/6.
        (0.5, 5 / 6),
        # Neither gives 0.9: how this mean was formed is not known.
        (0.9, None),
    ],
)
def test_a_group_is_formed_as_before(before, after):
    results = grouped(before)
    recompute(results, {"u": {"accuracy": [1.0, 1.0, 0.0]}})
    assert results["results"]["u"]["accuracy,none"] == pytest.approx(2 / 3)
    assert results["results"]["t"] == entry(1.0)
    expected = None if after is None else pytest.approx(after)
    assert results["results"]["g"]["accuracy,none"] == results["groups"]["g"]["accuracy,none"] == expected


def test_pooled_standard_error():
    """lmms-eval's pooled variance: Σ (n−1)·n·e² over Σn − k is the variance, over Σn the squared error."""
    results = grouped(0.25)
    for task, error in (("t", 0.0), ("u", 0.5)):
        results["results"][task]["accuracy_stderr,none"] = error
    results["results"]["g"]["accuracy_stderr,none"] = 0.1
    recompute(results, {"u": {"accuracy": [1.0, 1.0, 0.0]}})
    # u: mean 2/3, squared deviations 2·1/9 + 4/9 = 2/3, s² = 1/3, error² = 1/9.
    assert results["results"]["u"]["accuracy_stderr,none"] == pytest.approx(1 / 3)
    # Pooled: (0 + 2·3·1/9)/(4 − 2) = 1/3; over 4: 1/12.
    assert results["results"]["g"]["accuracy_stderr,none"] == pytest.approx(math.sqrt(1 / 12))


def test_a_group_whose_tasks_stay_stays():
    results = grouped(0.9)
    recompute(results, {"u": {"accuracy": [0.0, 0.0, 0.0]}})
    assert results == grouped(0.9)
