"""Agreement between judges, and between a judge and people, worked by hand."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from emt_core.files import dump_row
from judges.rerun.agreement import Opinion, agreement, read_opinions


def opinions(*categories):
    return [
        Opinion(("t", str(n)), f"answer {n}", category, None if category == "unscored" else category == "correct")
        for n, category in enumerate(categories)
    ]


def gold(*correct):
    return [Opinion(("t", str(n)), f"answer {n}", None, value) for n, value in enumerate(correct)]


C, W, N, E, U = "correct", "incorrect", "intrinsic", "extrinsic", "unscored"


def test_ten_answers():
    a = opinions(C, C, C, C, W, W, W, E, U, N)
    b = opinions(C, C, C, W, C, W, E, E, C, N)
    got = agreement(a, b)
    assert (got.answers, got.scored, got.unscored_a, got.unscored_b) == (10, 9, 1, 0)
    # Correct or not: of the nine scored pairs, the 4th and the 5th differ.
    assert got.agreeing == 7
    assert got.accuracy == pytest.approx(7 / 9)
    # Wilson, k = 7, n = 9, z = 1.96: centre (7 + 1.9207)/(9 + 3.8415) = 0.69468,
    # half width 1.96·sqrt(7·2/9 + 0.96036)/12.8415 = 0.24212.
    assert got.interval == pytest.approx((0.45257, 0.93680), abs=2e-4)
    # Cohen: both say correct 4 of 9 times, so that chance agrees (4·4 + 5·5)/81 = 41/81: (63 − 41)/(81 − 41).
    assert got.kappa == pytest.approx(22 / 40)
    # Category: the 7th (incorrect, extrinsic) differs too. Marginals of a: C4 I3 E1 N1, of b: C4 I2 E2 N1; chance
    # agrees (16 + 6 + 2 + 1)/81 = 25/81, they do 6/9 = 54/81: (54 − 25)/(81 − 25).
    assert got.category_accuracy == pytest.approx(6 / 9)
    assert got.kappa_category == pytest.approx(29 / 56)
    assert (got.false_correct, got.false_wrong) == (1, 1)
    assert got.confusion == {C: {C: 3, W: 1}, W: {C: 1, W: 1, E: 1}, N: {N: 1}, E: {E: 1}, U: {C: 1}}
    assert [(case["id"], case["a"], case["b"]) for case in got.disagreements] == [
        ("3", C, W),
        ("4", W, C),
        ("6", W, E),
        ("8", U, C),
    ]


def test_gold_that_only_knows_right_and_wrong():
    got = agreement(opinions(C, W, E, C), gold(True, False, True, False))
    assert got.accuracy == 0.5
    assert (got.category_accuracy, got.category_interval, got.kappa_category, got.confusion) == (None, None, None, {})
    assert [(case["a"], case["b"]) for case in got.disagreements] == [(E, C), (C, "not correct")]


def test_kappa_is_none_where_it_is_undefined():
    got = agreement(opinions(C, C), opinions(C, C))
    assert (got.accuracy, got.kappa, got.kappa_category) == (1.0, None, None)


def test_kappa_of_a_judge_that_always_says_yes_is_zero():
    assert agreement(opinions(C, C, C), opinions(C, W, E)).kappa == pytest.approx(0)


def test_nothing_scored_is_none():
    got = agreement(opinions(U, U), opinions(C, W))
    assert (got.scored, got.accuracy, got.interval, got.kappa) == (0, None, None, None)


def test_answers_are_paired_by_id_in_any_order():
    a = opinions(C, W, E)
    assert agreement(a, a[::-1]).accuracy == 1.0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (opinions(C, W), opinions(C), "A has 2 answers and B 1; t 1 is in only one"),
        (opinions(C), opinions(C, W), "A has 1 answers and B 2; t 1 is in only one"),
        (opinions(C) * 2, opinions(C), "A: answer t 0 appears twice"),
        (opinions(C), [Opinion(("t", "0"), "another answer", C, True)], "answer t 0 reads differently in A and B"),
    ],
)
def test_different_answers_are_not_compared(a, b, message):
    with pytest.raises(UserError, match=message):
        agreement(a, b)


def test_reading_judged_and_gold_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"task": "t", "id": "x", "prediction": "p", "category": W, "correct": False, "verdict": {"category": C}},
        {"task": "t", "id": "y", "prediction": "p", "category": U},
        {"task": "t", "prediction": "p", "correct": True},
    ]
    path.write_bytes(b"".join(map(dump_row, rows)))
    assert read_opinions(path) == [
        Opinion(("t", "x"), "p", C, True),
        Opinion(("t", "y"), "p", U, None),
        Opinion(("t", "row 3"), "p", None, True),
    ]


def test_reading_a_run(tmp_path):
    sample = {
        "doc_id": 7,
        "filtered_resps": "a cat",
        "verdict": {"category": W},
        "judge_target": {"kind": "classification", "vocabulary": "cifar10", "label": 3},
    }
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "20260101_000000_samples_emt_cifar10.jsonl").write_bytes(dump_row(sample))
    assert read_opinions(tmp_path) == [Opinion(("emt_cifar10", "7"), "a cat", W, False)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prediction": "p"}, "expected a field 'verdict', 'category' or 'correct'"),
        ({"prediction": "p", "correct": "yes"}, "expected a field 'verdict', 'category' or 'correct'"),
        ({"prediction": "p", "category": "right"}, "field 'category': expected one of correct, .* found 'right'"),
        ({"prediction": "p", "verdict": {"category": 1}}, "field 'category': .* found 1"),
    ],
)
def test_a_row_without_opinion_is_named(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(dump_row(row))
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: {message}"):
        read_opinions(path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(UserError, match=r"rows\.jsonl: contains no rows"):
        read_opinions(tmp_path / "rows.jsonl")
