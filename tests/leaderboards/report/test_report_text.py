"""Numbers and foreign texts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.report.text import bounds, count, excerpt, listed, number, p_value, printable, sortable, with_bounds
from leaderboards.statistics import Interval


def test_numbers() -> None:
    assert [number(value) for value in (None, -0.04, -1.26, 12)] == ["–", "0.0", "−1.3", "12.0"]
    assert [sortable(value) for value in (None, -0.0, 1 / 3, 1e-9)] == ["", "0", "0.33333333", "1e-09"]
    assert [count(value) for value in (None, 0, 1234567)] == ["–", "0", "1\u202f234\u202f567"]
    assert [p_value(value) for value in (None, 0.0004, 0.05, 1.0)] == ["–", "< 0.001", "0.050", "1.000"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(1.0, -0.5, 2.5, 9, 0.95, "x"), "1.0 (−0.5 to 2.5)"),
        (Interval(1.0, None, None, 9, 0.95, "x"), "1.0 (no interval)"),
        (Interval(None, None, None, 0, 0.95, "x"), "–"),
        (None, "–"),
    ],
)
def test_intervals(interval: Interval | None, expected: str) -> None:
    assert with_bounds(interval) == expected
    assert bounds(interval) in expected or expected == "–"


def test_a_long_text_is_cut_and_says_so() -> None:
    part = excerpt("é" * 5000)
    assert (len(part.text), part.length, part.cut) == (2000, 5000, True)
    assert not excerpt("short").cut


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_printed_can_be_written_and_hides_no_control_character(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown) == len(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\t\n" and not "\x80" <= c <= "\x9f"]
