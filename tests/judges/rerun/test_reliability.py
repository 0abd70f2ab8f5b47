"""How far several judges agree, from files and from a panel's votes."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from judges.rerun.agreement import Opinion
from judges.rerun.reliability import panel_reliability, reliability

C, W, N, E, U = "correct", "incorrect", "intrinsic", "extrinsic", "unscored"


def side(*categories):
    return [
        Opinion(("t", str(n)), f"answer {n}", category, None if category == U else category == C)
        for n, category in enumerate(categories)
    ]


def panel(*rows):
    return [
        {"verdict": {"category": C, "votes": [{"judge": f"j{n}", "category": vote} for n, vote in enumerate(row)]}}
        for row in rows
    ]


TABLE = [
    (C, C, C),  # unanimous
    (C, C, W),  # by majority
    (C, W, E),  # each another
    (C, U, C),  # two of three vote alike: unanimous
    (C, U, W),  # two of three vote, each another
    (U, U, C),  # one vote decides nothing
]


@pytest.mark.parametrize("measure", ["files", "votes"])
def test_three_judges(measure):
    if measure == "files":
        got = reliability([side(*column) for column in zip(*TABLE, strict=True)], ["j0", "j1", "j2"])
    else:
        got = panel_reliability(panel(*TABLE))
    assert (got.judges, got.answers) == (("j0", "j1", "j2"), 6)
    assert (got.unanimous, got.by_majority, got.undecided) == (2, 1, 3)
    # Five answers have two votes or more, 13 in all: C 9, W 3, E 1.
    # n·D_o = 0 + (2·1 + 1·2)/2 + 3·(1·2)/2 + 0 + 2·(1·1)/1 = 7; n(n − 1)·D_e = 9·4 + 3·10 + 1·12 = 78.
    assert (got.category.answers, got.category.alpha) == (5, pytest.approx(1 - 12 * 7 / 78))
    # Correct 9, not 4: n·D_o = 0 + 2 + (1·2 + 2·1)/2 + 0 + 2 = 6; n(n − 1)·D_e = 9·4 + 4·9 = 72.
    assert (got.correct.answers, got.correct.alpha) == (5, pytest.approx(1 - 12 * 6 / 72))


def test_gold_that_only_knows_right_and_wrong_counts_for_that():
    gold = [Opinion(("t", str(n)), f"answer {n}", None, right) for n, right in enumerate([True, False, False])]
    got = reliability([side(C, W, E), side(C, W, W), gold], ["a", "b", "gold"])
    assert (got.unanimous, got.by_majority, got.undecided) == (None, None, None)
    assert got.correct.alpha == 1.0
    # The categories are a's and b's: 6 votes C 2, W 3, E 1, one answer split: 1 − 5·2/(2·4 + 3·3 + 1·5) = 12/22.
    assert got.category.alpha == pytest.approx(12 / 22)


def test_other_answers_are_named_by_their_file():
    with pytest.raises(UserError, match="a has 2 answers and c 1; t 1 is in only one"):
        reliability([side(C, W), side(C, W), side(C)], ["a", "b", "c"])


def test_rows_without_votes_are_no_panel():
    assert panel_reliability([{"verdict": {"category": C}}, {"prediction": "x"}]) is None


def test_two_panels_are_not_mixed():
    with pytest.raises(UserError, match="votes of different panels: j0, j1 and j0, j1, j2"):
        panel_reliability(panel((C, C), (C, C, C)))
