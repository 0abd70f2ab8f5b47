"""The drop by an audit: worked by hand, equal to full labels where all is labelled, and its size under judge errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.audit import BOUND, JUDGES, cell, cells, table_row
from leaderboards.statistics import PairedSample
from leaderboards.statistics.audit import AuditedSample, Stratum, effective_counts, turning_error


def sample(n: int = 1000, lost: int = 30, gained: int = 10) -> PairedSample:
    base, candidate = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    base[lost : lost + gained] = 0
    found = PairedSample.from_scores(base, candidate)
    assert found
    return found


def test_by_hand() -> None:
    # n = 1000: 100 verdicts differ, all labelled, 40 lost and 10 gained; 400 agree on different texts, 100 labelled, 4
    # lost and 1 gained, which stand for 16 and 4; 500 have equal texts.
    # lost 40 + 16 = 56, gained 10 + 4 = 14, drop 42 / 1000.
    # Rates in the variances: 50 / 100, and (5 + 1) / 101. Changed: 0.1 · 0.5 + 0.4 · 6 / 101 = 0.0737624.
    # documents: (0.0737624 − 0.042²) / 1000 = 7.19984e-5.
    # labelling: 0.4² · (1 − 100 / 400) · s² / 100, s² = (6 / 101 − 0.03²) · 100 / 99 = 0.0590959: 7.09151e-5.
    # design effect 1 + 7.09151 / 7.19984 = 1.984953.
    lost, gained, n = effective_counts(1000, (Stratum(100, 100, 40, 10), Stratum(400, 100, 4, 1)))
    assert float(n) == pytest.approx(1000 / 1.984953, rel=1e-5)
    assert float(lost / n) == pytest.approx(0.056)
    assert float(gained / n) == pytest.approx(0.014)


def test_no_change_among_the_labelled_is_not_no_change_among_all() -> None:
    # 300 of 10,000 pairs labelled and none changed: up to 1 % of them may have, by the rule of three: 0.5 % of 20,000.
    audited = AuditedSample.of(sample(20_000, 0, 0), (Stratum(0, 0, 0, 0), Stratum(10_000, 300, 0, 0)), "people")
    bounds = audited.bounds(0.05)
    assert bounds
    assert 0.003 < bounds[1] < 0.007
    assert bounds[0] == pytest.approx(-bounds[1])


counts = st.integers(0, 60)


@given(counts, counts, st.integers(0, 200), counts, counts, st.integers(0, 200), st.integers(0, 1000))
def test_with_all_labelled_it_is_the_test_of_the_labels(
    lost: int, gained: int, same: int, lost_too: int, gained_too: int, same_too: int, equal: int
) -> None:
    first, second = lost + gained + same, lost_too + gained_too + same_too
    n = first + second + equal + 2
    strata = (Stratum(first, first, lost, gained), Stratum(second, second, lost_too, gained_too))
    audited = AuditedSample.of(sample(n, 0, 0), strata, "people")
    gold = sample(n, lost + lost_too, gained + gained_too)
    assert audited.difference == pytest.approx(gold.difference, abs=1e-12)
    assert audited.bounds(0.05, correction=0.5) == pytest.approx(gold.bounds(0.05, correction=0.5), abs=1e-9)
    assert audited.p_values(0.02) == pytest.approx(gold.p_values(0.02), abs=1e-9)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(60, 299))
def test_fewer_labels_never_say_more(lost: int, gained: int, labelled: int) -> None:
    def width(m: int) -> float:
        share = m / 300
        strata = (Stratum(50, 50, 20, 20), Stratum(600, m, lost * share, gained * share))
        bounds = AuditedSample.of(sample(2000), strata, "people").bounds(0.05)
        assert bounds
        return bounds[1] - bounds[0]

    assert width(labelled) >= width(300) - 1e-9


def test_what_an_error_of_the_judge_would_turn() -> None:
    # 80 % measured right, the bound 3 points beyond: with e of the right ones called wrong, the true accuracy is
    # 0.8 / (1 − e); at e = 0.03 / 0.83 that is 0.83.
    error = turning_error(0.03, 0.8)
    assert error == pytest.approx(0.03 / 0.83)
    assert 0.8 / (1 - error) == pytest.approx(0.83)
    assert turning_error(-0.01, 0.8) is None
    assert turning_error(0.0, 0.0) is None


@pytest.fixture(scope="module")
def simulated() -> list[dict[str, Any]]:
    return list(cells(20_000, seed=0))


def test_sizes_and_power_under_judge_errors(simulated: list[dict[str, Any]]) -> None:
    """With 20,000 draws a rate of 7 % has a standard error of 0.2 %."""
    assert len(simulated) == 24
    for figures in simulated:
        assert max(figures["audit_passes_at_margin"], figures["audit_fails_at_margin"]) <= BOUND, figures
        assert figures["audit_passes_unchanged"] > figures["gold_passes_unchanged"] - 0.03, figures


def test_the_page_holds_the_figures_as_printed(simulated: list[dict[str, Any]]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "audit.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| 2")] == [*map(table_row, simulated)]


def test_a_judges_errors_do_turn_verdicts_without_an_audit() -> None:
    drifted = cell(JUDGES[3], 2000, 0.36, 20_000, seed=1)
    assert drifted["judge_passes_at_margin"] > 0.2  # type: ignore[operator]


def test_a_cluster_counts_once() -> None:
    # 200 documents about 20 images, 10 about each, no label changed: 20 documents that do not depend on each other.
    ones = np.ones(200)
    clustered = PairedSample.from_scores(ones, ones, np.repeat(np.arange(20), 10))
    alone = PairedSample.from_scores(np.ones(20), np.ones(20))
    assert clustered
    assert alone
    nothing = (Stratum(0, 0, 0, 0), Stratum(0, 0, 0, 0))
    audited, small = (AuditedSample.of(one, nothing, "people") for one in (clustered, alone))
    assert audited.design_effect == pytest.approx(10)
    wide, narrow = audited.bounds(0.05), small.bounds(0.05)
    assert wide
    assert narrow
    assert wide[1] > narrow[1]  # equal counts, and Student's quantile for 20 clusters
