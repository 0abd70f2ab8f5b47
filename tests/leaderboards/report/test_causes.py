"""Causes in words and pictures."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.comparison.causes import CAUSES, Causes, Flow
from leaderboards.report.causes import ANSWERS, OTHERS, draw, draw_flow, in_a_line
from leaderboards.statistics import wilson_interval

NAMES = [f"answer {number}" for number in range(12)]


def causes(**changes) -> Causes:
    of = dict.fromkeys(range(22), "format") | dict.fromkeys(range(22, 31), "mouth")
    counts = {cause: list(of.values()).count(cause) for cause in CAUSES}
    settings = {
        "task": "flowers102",
        "n": 100,
        "lost": 31,
        "gained": 2,
        "never": 10,
        "of": of,
        "shares": {cause: wilson_interval(count, 31).scaled(100) for cause, count in counts.items()},
        "closed_by": "label",
        "guessed": 1.0,
        "base_closed": wilson_interval(30, 31).scaled(100),
        "same_tower": True,
        "probed": True,
        "reaches": None,
        "flows": (Flow("rose", "tulip", 20), Flow("rose", "(none)", 11)),
        "calibration": (None, None),
    }
    return Causes(**{**settings, **changes})


def test_a_line_says_what_was_lost_why_and_what_to_try():
    assert in_a_line(causes()) == (
        "flowers102: 31.0 points lost, 2.0 gained; 22.0 of them are format: the right answer is still the likeliest, "
        "but not what is written, 9.0 mouth. Try: mix in 10 % of other prompts."
    )


def test_a_line_says_that_nothing_was_lost():
    assert in_a_line(causes(lost=0, of={})) == "flowers102: nothing lost."


@pytest.mark.parametrize("same_tower", [True, False])
def test_a_line_says_why_it_cannot_be_told(same_tower):
    line = in_a_line(causes(of=dict.fromkeys(range(31), "unclear"), closed_by=None, same_tower=same_tower))
    assert "its answers do not form a closed set" in line
    assert ("not the eye" in line) == same_tower


def test_what_was_not_measured_is_not_called_kept():
    assert in_a_line(causes(n=0, lost=0, of={})) == "flowers102: none of its documents were measured."


def test_without_probes_the_probe_is_not_blamed():
    line = in_a_line(causes(of=dict.fromkeys(range(31), "unclear"), same_tower=False, probed=False))
    assert "its images were not probed" in line


def test_bars_end_where_the_losses_do():
    why = draw([causes()])
    assert why is not None
    (row,) = why.rows
    assert [(part.kind, part.count) for part in row.segments] == [("format", 22), ("mouth", 9)]
    assert row.segments[0].start == why.axis(0)
    assert row.segments[-1].start + row.segments[-1].width == pytest.approx(why.axis(31), abs=0.01)
    assert row.gained and row.gained.start == why.axis(-2)


def test_nothing_measured_draws_nothing():
    assert draw([]) is None
    assert draw([causes(n=0, lost=0, of={})]) is None


flows = st.lists(
    st.builds(Flow, st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(1, 50)), min_size=1, max_size=60
)


@given(flows)
def test_a_flow_keeps_every_document_and_bands_never_overlap(flows):
    chart = draw_flow(flows)
    total = sum(flow.documents for flow in flows)
    assert sum(band.documents for band in chart.bands) == total
    for side, edge in ((chart.left, "left"), (chart.right, "right")):
        assert sum(stack.documents for stack in side) == total
        assert len(side) <= ANSWERS + 1 and all(stack.name in [*NAMES, OTHERS] for stack in side)
        assert all(first.bottom <= second.top for first, second in itertools.pairwise(side))
        edges = sorted(getattr(band, edge) for band in chart.bands)
        assert all(first[1] <= second[0] + 0.02 for first, second in itertools.pairwise(edges))
        assert side[-1].bottom <= chart.height
