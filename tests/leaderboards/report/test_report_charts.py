"""Axes, bars and rows: where things stand on a chart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.decide import decide
from leaderboards.report.candidates import parse_candidates
from leaderboards.report.charts import ForestRow, forest, forests, lost_answers, make_axis
from leaderboards.report.overlaps import bearings, dashes, layers, pixels, ring_radius
from leaderboards.report.traces import HEIGHT, trace
from leaderboards.statistics import Interval
from tests.support.synthetic_runs import judged_sample, write_counts, write_run


def test_an_axis_by_hand() -> None:
    # From -3 to 22 are 25 points; 25 / 5 intervals = 5, a round step: ticks from -5 to 25.
    axis = make_axis([-3, 22])
    assert axis.ticks == (-5, 0, 5, 10, 15, 20, 25)
    assert [axis(value) for value in (-5, 0, 25, 1000)] == [0, pytest.approx(16.667), 100, 100]
    assert [axis.text(tick) for tick in axis.ticks] == ["−5", "0", "5", "10", "15", "20", "25"]


def test_labels_have_the_decimals_that_their_step_needs() -> None:
    axis = make_axis([60, 70], ticks=5)
    assert [axis.text(tick) for tick in axis.ticks] == ["60.0", "62.5", "65.0", "67.5", "70.0"]


def test_a_widened_axis_stays_within_what_can_be_measured() -> None:
    axis = make_axis([99.0, 99.5], least=10, within=(0, 100), ticks=5)
    assert (axis.low, axis.high) == (90, 100)


@given(st.lists(st.floats(-100, 100), max_size=8), st.floats(1e-3, 50), st.integers(2, 9))
def test_an_axis_holds_its_values_between_its_ticks(values: list[float], least: float, ticks: int) -> None:
    axis = make_axis(values, least=least, ticks=ticks)
    assert len(axis.ticks) >= 2
    assert (axis.low, axis.high) == (axis.ticks[0], axis.ticks[-1])
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= value <= axis.high + slack for value in values)
    assert len({axis.text(tick) for tick in axis.ticks}) == len(axis.ticks)


def _runs(folder: Path) -> tuple[Path, Path]:
    """Ten documents: the candidate loses one to each kind of error and gains one."""
    kinds = ["incorrect", "intrinsic", "extrinsic", "correct", "correct"]
    base = [judged_sample(i, "correct" if i < 9 else "incorrect") for i in range(10)]
    candidate = [judged_sample(i, kinds[i] if i < 5 else "correct") for i in range(10)]
    return (
        write_run(folder, {"flowers102": base, "other": base}, name="base"),
        write_run(folder, {"flowers102": candidate, "other": base}, name="candidate"),
    )


def test_bars_and_forest_rows_by_hand(tmp_path: Path) -> None:
    base, candidate = _runs(tmp_path)
    result = decide(compare(read_run(base), read_run(candidate)))
    bars, axis = lost_answers(result.comparison.tasks)
    # Three of ten documents lost, one a kind: the axis ends at 30 %, each piece is a third of it.
    assert axis.high == 30
    assert [(part.kind, part.count, part.share) for part in bars[0].segments] == [
        ("incorrect", 1, 10.0),
        ("intrinsic", 1, 10.0),
        ("extrinsic", 1, 10.0),
    ]
    assert [part.start for part in bars[0].segments] == pytest.approx([0, 33.333, 66.667], abs=1e-3)
    assert (bars[0].lost, bars[0].gained, bars[1].segments) == (3, 1, ())
    rows, axis = forest(result)
    assert [row.name for row in rows] == ["flowers102", "other"]
    assert rows[0].drop is not None
    assert rows[0].drop.estimate == pytest.approx(20)
    assert axis.low <= -20
    assert axis.high >= 50


def test_a_trace_goes_from_the_base_through_the_checkpoints_in_order(tmp_path: Path) -> None:
    def run(name: str, right: dict[str, int]) -> str:
        return write_counts(tmp_path / name, right, 20)

    base = run("base", {"imagenet_vqa": 10, "imagewikiqa": 16})
    late = run("lora/checkpoint-100", {"imagenet_vqa": 18, "imagewikiqa": 8})
    early = run("lora/checkpoint-20", {"imagenet_vqa": 14, "imagewikiqa": 12})
    candidates = parse_candidates([late, early])
    pairs = [(found, compare(read_run(Path(base)), read_run(found.path))) for found in candidates]
    traces = trace(pairs, None)
    assert traces is not None
    assert traces.task == "imagenet_vqa"
    assert [panel.name for panel in traces.panels] == ["idt_idi", "oodt_idi"]
    (curve,) = traces.panels[1].curves
    assert [point.label for point in curve.points] == ["base", "lora checkpoint-20", "lora checkpoint-100"]
    assert [point.across.estimate for point in curve.points] == [50, 70, 90]
    assert [point.up.estimate for point in curve.points] == [80, 60, 40]
    assert [point.x for point in curve.points] == sorted(point.x for point in curve.points)
    heights = [point.y for point in curve.points]
    assert heights == sorted(heights)  # less accuracy, farther from the top
    assert 0 < heights[0] < heights[-1] < HEIGHT
    assert trace(pairs[:1], None) is None
    assert trace(pairs, "not evaluated") is None


def test_layers_by_hand() -> None:
    # 2 % of a panel of 280 pixels are 5.6 of them, on one spot; 3 % are 8.4, apart. The last is on the spot of the
    # second and third only, so that the first's layer is free.
    assert [pixels(x, 10.0)[0] for x in (2, 3)] == pytest.approx([5.6, 8.4])
    assert layers([pixels(x, 10.0) for x in (0, 2, 2, 3.5)]) == [0, 1, 2, 0]
    assert layers([pixels(0, 10.0), pixels(0, 18.0), pixels(0, 17.9)]) == [0, 0, 1]
    assert layers([]) == []
    assert [ring_radius(layer) for layer in (1, 2)] == [9.5, 14.0]
    assert [dashes(layer) for layer in (0, 1, 2)] == ["none", "8 8", "8 24"]


def test_a_ring_has_its_small_mark_where_there_is_room() -> None:
    # Three on one spot: the first ring's mark goes up and to the right, the second's to the opposite side. A mark to
    # the right of a ring drives the ring's own to the left.
    spot = pixels(50, 100.0)
    assert bearings([spot] * 3, [0, 1, 2]) == [0, -45, 135]
    beside = (spot[0] + 15, spot[1])
    assert bearings([spot, beside, spot], [0, 0, 1]) == [0, 0, 165]


def test_the_base_is_marked_once_and_lines_count_both_ends(tmp_path: Path) -> None:
    def run(name: str, learnt: int, kept: int) -> str:
        return write_counts(tmp_path / name, {"imagenet_vqa": learnt, "imagewikiqa": kept}, 20)

    base = run("base", 10, 16)
    # Two end in one spot, the third goes elsewhere, the fourth stays: its mark is a ring around the base.
    ends = {"a": (18, 8), "b": (18, 8), "c": (18, 14), "d": (10, 16)}
    candidates = parse_candidates([f"{name}={run(name, *end)}" for name, end in ends.items()])
    traces = trace([(found, compare(read_run(Path(base)), read_run(found.path))) for found in candidates], None)
    assert traces is not None
    curves = traces.panels[1].curves
    assert [curve.points[0].ring for curve in curves] == [0, None, None, None]
    assert [curve.points[1].ring for curve in curves] == [0, 1, 0, 1]
    assert [curve.points[1].dash for curve in curves] == [0, 1, 0, 0]


def test_unlike_units_have_an_axis_each() -> None:
    """An axis of points from 0 to 5 and one of grades from 0 to 0.4 would hide the grades on a common one."""

    def row(name: str, drop: float, margin: float, unit: str = "points", digits: int = 1) -> ForestRow:
        interval = Interval(drop, drop - 0.1, drop + 0.1, 100, 0.9, "t")
        return ForestRow(name, False, 100, margin, "", "not inferior", "", interval, interval, unit, digits)

    points, grades = forests([row("a", 2.0, 4.0), row("g", 0.2, 0.3, "grade", 2), row("b", 1.0, 4.0)])
    assert ([one.name for one in points.rows], points.title) == (["a", "b"], "forgetting, percentage points")
    assert ([one.name for one in grades.rows], grades.title) == (["g"], "forgetting, in the unit of grade")
    assert (points.axis.high, grades.axis.high) == (4.0, pytest.approx(0.3))
