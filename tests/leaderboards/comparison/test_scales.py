"""Metrics of any range: the scale of scores, margins in their unit or of the base, and how often a gate errs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.any_range import measure
from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.app import main
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.scales import POINTS, Scale, find_scale
from leaderboards.gate.decide import decide
from leaderboards.gate.policy import Policy


def series(*values: float | None) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)


def table(file: Path, scores: list[float]) -> Path:
    file.write_text("id,score\n" + "".join(f"{i},{score}\n" for i, score in enumerate(scores)), encoding="utf-8")
    return file


def test_scores_from_0_to_1_are_points_whatever_changed() -> None:
    assert find_scale("acc", [series(0, 1, None), series(0.5)], drops=[series(0.1)]) is POINTS
    assert find_scale("acc", [series(None)]) is POINTS
    assert find_scale("acc", [series(0.2)], (0.0, 1.0)) is POINTS


def test_a_range_is_stated_or_seen() -> None:
    assert find_scale("grade", [series(3, 7)], (0.0, 10.0)) == Scale("grade", 10.0, 0.0, 10.0)
    # Seen: 2 to 9; the largest change is 3.
    scale = find_scale("grade", [series(2, 7), series(5, 9)], drops=[series(-3, 2)])
    assert scale == Scale("grade", 3.0, 2.0, 7.0)
    # A score of 2 is 2/3 of a span above the metric's own zero.
    assert scale.origin == pytest.approx(2 / 3)
    assert find_scale("grade", [series(2, 7)]) == Scale("grade", 5.0, 2.0, 5.0)
    # A thousandth of the range is worth showing: 0.007 of 7, 0.1 of 100.
    assert [find_scale("x", [series(0, high)]).digits for high in (7, 70, 100, 5000)] == [2, 1, 1, 0]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_no_drop_is_larger_than_the_span(pairs: list[tuple[float, float]]) -> None:
    base, candidate = (series(*side) for side in zip(*pairs, strict=True))
    scale = find_scale("x", [base, candidate], drops=[base - candidate])
    if not scale.is_percent:
        assert float((base - candidate).abs().max() or 0) <= scale.span  # type: ignore[arg-type]


def test_drops_and_means_are_in_the_metrics_unit(tmp_path: Path) -> None:
    # 400 grades of 6 and 8, mean 7; the candidate has a point less on every other: 0.5 lost, 6.5 left, 92.9 % kept.
    base = [6.0, 8.0] * 200
    runs = [table(tmp_path / "b.csv", base), table(tmp_path / "c.csv", [s - i % 2 for i, s in enumerate(base)])]
    (task,) = compare(*map(read_run, runs)).tasks
    assert task.scores is not None
    assert (task.scores.base.estimate, task.scores.candidate.estimate) == pytest.approx((7.0, 6.5))
    assert task.scores.forgetting.estimate == pytest.approx(0.5)
    assert task.scores.retention.estimate == pytest.approx(100 * 6.5 / 7)
    # Student's t: the drops' variance is 0.25 × 400/399; 1.966 is t's 97.5 % quantile at 399 degrees of freedom.
    half = 1.966 * np.sqrt(0.25 / 399)
    assert task.scores.forgetting.lower == pytest.approx(0.5 - half, abs=0.02)


def test_margins_are_in_the_unit_or_of_the_bases_score(tmp_path: Path) -> None:
    base = [6.0, 8.0] * 200
    runs = [table(tmp_path / "b.csv", base), table(tmp_path / "c.csv", [s - i % 2 for i, s in enumerate(base)])]
    comparison = compare(*map(read_run, runs))

    def ruled(policy: Policy) -> tuple[str, float, str]:
        (unit,) = decide(comparison, policy).units
        return unit.outcome, round(unit.margin, 6), unit.unit

    assert ruled(Policy(margin=0.4)) == ("forgetting", 0.4, "score")
    assert ruled(Policy(margin="10 %")) == ("not inferior", 0.7, "score")  # 10 % of 7
    # Unset: 4 % of the base's score, not 4 points of it.
    assert ruled(Policy()) == ("forgetting", 0.28, "score")
    with pytest.raises(UserError, match=r"samples: a margin of 3 score allows any drop: the scores range over 2 only"):
        decide(comparison, Policy(margin=3.0))


def test_one_number_for_tasks_in_unlike_units_is_refused(tmp_path: Path) -> None:
    for side in ("base", "cand"):
        (tmp_path / side).mkdir()
        table(tmp_path / side / "grades.csv", [6.0, 8.0] * 100)
        (tmp_path / side / "words.csv").write_text(
            "id,bleu\n" + "".join(f"{i},{i % 50}\n" for i in range(200)), encoding="utf-8"
        )
    found = compare(read_run(tmp_path / "base"), read_run(tmp_path / "cand"), metrics={"words": "bleu:higher"})
    with pytest.raises(UserError, match=r"margin 0\.5: .* are scored in unlike units: give per cent"):
        decide(found, Policy(margin=0.5))
    assert decide(found, Policy(margin="5 %")).outcome == "not inferior"
    assert decide(found, Policy(margin=0.5, tasks={"words": 1.0})).outcome == "not inferior"


@pytest.mark.parametrize("margin", ["-1", "100%", "much", "nan"])
def test_margins_that_are_none(tmp_path: Path, margin: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(table(tmp_path / "b.csv", [0, 1]))
    assert main(["gate", file, file, f"--margin={margin}"]) == 2
    assert f"--margin {margin}: expected a number from 0 on, or less than 100 %, such as 5%" in capsys.readouterr().err


def test_the_command_says_the_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [6.0, 8.0] * 200
    runs = [table(tmp_path / "b.csv", base), table(tmp_path / "c.csv", [s - i % 2 for i, s in enumerate(base)])]
    arguments = ["gate", *map(str, runs), "--metric", "samples=score:0..10", "--margin", "1"]
    assert main(arguments) == 0
    assert "the unit of score on samples" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["unit"] == "score"


def test_scores_from_0_to_1_give_what_they_gave_with_or_without_a_stated_range(tmp_path: Path) -> None:
    runs = [read_run(table(tmp_path / f"{k}.csv", [float(i % 3 > k) for i in range(300)])) for k in (0, 1)]
    plain, stated = (compare(*runs, metrics=metrics) for metrics in (None, {"samples": "score:0..1"}))
    assert decide(plain).units == decide(stated).units


@pytest.mark.parametrize("shape", ["grades", "skewed"])
def test_a_gate_errs_no_more_than_it_may(shape: str) -> None:
    """100 candidates that lost the margin, on 100 documents: 5 may err by chance; 13 or more are a chance of 0.2 %."""
    found = measure(shape, 100, 100, stated=False)
    assert found["pass"] <= 0.12
    assert found["fail"] <= 0.12
    assert measure(shape, 100, 20, stated=False, lost=0.0)["pass"] > 0.5
