"""The looks at a candidate in training, in the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emt_tasks.commands.app import main
from leaderboards.comparison.training import Alarm, Seen, Training
from leaderboards.report.traces import HEIGHT
from leaderboards.report.training import MOST, draw_looks
from tests.leaderboards.comparison.test_training import BASE, look, write_log
from tests.support.synthetic_runs import judged_sample, write_run


def seen(accuracy: float, kl: float, documents: int = 0) -> Seen:
    return Seen(accuracy, 1.0, documents, kl, 0.0, 0.0)


def test_places_by_hand() -> None:
    """Steps 0 to 40 and accuracies 50 to 100 are the axes; of 4 documents, half right is 15.0 to 85.0 by Wilson."""
    looks = {0: {"old": seen(1.0, 0.0)}, 10: {"old": seen(0.75, 1.0)}, 40: {"old": seen(0.5, 2.0, 4)}}
    found = draw_looks(Training(looks, None, None))
    accuracy, kl = found.panels
    (curve,) = accuracy.curves
    assert [point.x for point in curve.points] == [0, 25, 100]
    assert (curve.points[2].up.lower, curve.points[2].up.upper) == (
        pytest.approx(15.0, abs=0.1),
        pytest.approx(85.0, abs=0.1),
    )
    assert [point.y for point in kl.curves[0].points] == [HEIGHT, HEIGHT / 2, 0]
    assert kl.curves[0].points[1].said == "old, step 10: KL from the base 1.000 nats"
    assert accuracy.curves[0].points[0].said == "old, the base: accuracy 100.0 %"
    assert [(row.step, row.accuracy.estimate, row.change, row.kl) for row in found.rows] == [
        (0, 100, 0, 0.0), (10, 75, -25, 1.0), (40, 50, -50, 2.0)
    ]  # fmt: skip


def test_the_learned_task_comes_first_and_tasks_on_one_spot_are_told_apart() -> None:
    looks = {step: {"a": seen(1.0, 0.0), "b": seen(1.0, 0.0), "new": seen(0.5, 0.1 * step)} for step in (0, 5)}
    found = draw_looks(Training(looks, "new", None))
    assert found.tasks == ("new", "a", "b")
    a, b = found.panels[0].curves[1:]
    assert [point.ring for point in (*a.points, *b.points)] == [0, 0, None, 1]  # the base is one model
    assert (a.points[1].dash, b.points[1].dash) == (0, 1)


def test_a_task_that_was_not_measured_everywhere_is_drawn_where_it_was() -> None:
    looks = {0: {"a": seen(1.0, 0.0)}, 5: {"a": seen(1.0, 0.0), "b": Seen(0.5, None, 0, None, None, None)}}
    found = draw_looks(Training(looks, None, None))
    assert [len(curve.points) for curve in found.panels[0].curves] == [2, 1]
    assert [curve.recipe for curve in found.panels[1].curves] == ["a"]
    without = draw_looks(Training({0: {}, 5: {"b": Seen(0.5, None, 0, None, None, None)}}, None, None))
    assert len(without.panels) == 1


def test_of_many_looks_some_are_drawn_and_all_are_in_the_table() -> None:
    looks = {step: {"old": seen(1.0, 0.01 * step)} for step in range(0, 1000, 7)}
    found = draw_looks(Training(looks, None, Alarm(21, ("old", "b"), 2.5, "slower"), unread=1))
    places = [point.across.estimate for point in found.panels[0].curves[0].points]
    assert len(places) == MOST and (places[0], places[-1]) == (0, 994) and len(set(places)) == MOST
    assert len(found.rows) == len(looks) == 143
    assert found.notes == (
        "At step 21 old and b were shown to have lost more than 2.5 points; "
        "from there on the learning rate was a tenth.",
        "20 of 143 looks are drawn; the table has all.",
        "A line of the log could not be read.",
    )


def report(folder: Path, *candidates: str) -> str:
    rows = [judged_sample(i, "correct") for i in range(30)]
    base = write_run(folder, {"emt_mnist": rows}, name="base")
    runs = [
        str(write_run(folder, {"emt_mnist": rows}, name=f"run-{name}", model_args=f"pretrained={folder / name}"))
        for name in candidates
    ]
    out = folder / "report.html"
    assert main(["report", str(base), *runs, "-o", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def test_a_candidate_with_a_log_has_the_section_and_others_have_not(tmp_path: Path) -> None:
    write_log(tmp_path / "watched", BASE, {"step": 5, "probe": {"new": look(0.75), "<b>old</b>": look(0.25)}})
    page = report(tmp_path, "watched", "other")
    assert page.count("<h2>While it was trained") == 1
    section = page.split("<h2>While it was trained", 1)[1].split("</section>", 1)[0]
    assert "<b>" not in section and "&lt;b&gt;old" in section
    assert "new (learned)" in section
    cells = re.findall(r'<td data-value="([^"]*)">', section)
    assert cells[:6] == ["0", "50", "", "0", "0", "0"]
    assert cells[6:12] == ["5", "75", "-25", "0.5", "0.25", "-0.125"]
    assert str(tmp_path) not in page
