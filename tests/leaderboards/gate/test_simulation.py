"""Simulated candidates: drawn as they are said to be, and judged as the gate judges real ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from emt_core.runs import read_run
from emt_tasks.commands.app import main
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.policy import Policy
from leaderboards.gate.simulation import (
    PlannedTask,
    Scenario,
    draw_clusters,
    plan_like,
    scenarios,
    simulate,
    simulate_all,
)
from leaderboards.statistics import PairedSample
from tests.leaderboards.gate.test_gate_error_rates import error_rates
from tests.support.synthetic_runs import judged_sample, write_run


def planned(n: int = 500, changed: float = 0.1, **more: object) -> PlannedTask:
    return PlannedTask("a", None, np.ones(n, dtype=np.int64), changed, **more)  # type: ignore[arg-type]


def test_rates_are_those_of_the_sum_over_all_tables() -> None:
    # 500 documents, 5 % gained, the margin of 2 points lost: exact shares from every possible table.
    policy = Policy(margin=2.0)
    passes, fails = error_rates(500, 0.02, 0.05, 0.5)
    found = simulate([planned()], policy, Scenario("", {"a": 2.0}), draws=4000)
    assert found.share("not inferior") == pytest.approx(100 * passes, abs=1.5)
    assert found.share("forgetting") == pytest.approx(100 * fails, abs=1.5)


@pytest.mark.parametrize("sizes", [[1] * 300, [1] * 100 + [4] * 50])
@pytest.mark.parametrize("more", [(0, 0), (7, 0), (0, 7)])
def test_a_drawn_sample_is_that_of_its_scores(sizes: list[int], more: tuple[int, int]) -> None:
    generator = np.random.default_rng(4)
    task = PlannedTask("a", None, np.array(sizes), 0.2, together=0.5)
    drawn = task.draw(0.03, generator).with_more(*more)
    again = np.random.default_rng(4)
    if max(sizes) == 1:
        down, up, _ = again.multinomial(300, [0.13, 0.1, 0.77])
        drops = [1.0] * down + [-1.0] * up + [0.0] * (300 - down - up)
        clusters = None
    else:
        downs, ups = draw_clusters(task.sizes, 0.13, 0.1, 0.5, again)
        drops = []
        for size, lost, gained in zip(sizes, downs, ups, strict=True):
            drops += [1.0] * lost + [-1.0] * gained + [0.0] * (size - lost - gained)
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        clusters = np.append(clusters, clusters[-1] + 1 + np.arange(sum(more)))
    drops += [1.0] * more[0] + [-1.0] * more[1]
    base = np.array([float(drop == 1) for drop in drops])
    candidate = np.array([float(drop == -1) for drop in drops])
    expected = PairedSample.from_scores(base, candidate, clusters)
    assert expected is not None
    assert drawn.p_values(0.04) == pytest.approx(expected.p_values(0.04))
    assert (drawn.n, drawn.clusters, drawn.difference) == (expected.n, expected.clusters, expected.difference)


def test_clusters_change_together_as_often_as_is_said() -> None:
    downs, ups = draw_clusters(np.full(20_000, 10), 0.1, 0.05, 0.4, np.random.default_rng(0))
    assert (downs.mean() / 10, ups.mean() / 10) == pytest.approx((0.1, 0.05), abs=0.005)
    # Var(sum) of an indicator with mean p in clusters of m with intraclass correlation ρ: m·p(1−p)·(1 + (m−1)ρ).
    assert downs.var() == pytest.approx(10 * 0.09 * (1 + 9 * 0.4), rel=0.05)


def test_partial_credit_is_drawn_with_the_loss_asked_for() -> None:
    seen = PairedSample.from_scores(np.linspace(0, 1, 400), np.linspace(0, 1, 400) ** 1.2)
    assert seen is not None
    task = PlannedTask("a", None, np.ones(400, dtype=np.int64), 0.0, seen=seen.outcomes)
    generator = np.random.default_rng(0)
    for loss in (-0.1, 0.0, 0.02, 0.2):
        drops = [task.draw(loss, generator).difference for _ in range(300)]
        assert np.mean(drops) == pytest.approx(loss, abs=0.005)


def test_documents_that_one_run_alone_scored_count_against_either_verdict() -> None:
    certain = simulate([planned(2000)], Policy(), Scenario(""), draws=200)
    open_ones = simulate([planned(2000, one_sided=80)], Policy(), Scenario(""), draws=200)
    assert certain.share("not inferior") > 95
    assert open_ones.share("not inferior") < 20
    assert open_ones.share("undecided") > 80


def runs(tmp_path: Path) -> tuple[str, str]:
    folders = []
    for side, wrong in (("base", range(40)), ("candidate", range(30, 70))):
        rows = [judged_sample(i, "incorrect" if i in wrong else "correct", cluster=f"{i // 2}") for i in range(400)]
        credit = [judged_sample(i, "incorrect" if i in wrong else "correct") for i in range(400)]
        folders.append(str(write_run(tmp_path / side, {"ocr_vqa": rows, "emt_mnist": credit}, name=side)))
    return folders[0], folders[1]


def test_a_self_test_is_of_runs_like_these_and_takes_half_a_minute_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, candidate = runs(tmp_path)
    first, second = plan_like(compare(read_run(Path(base)), read_run(Path(candidate))), Policy())
    assert sorted((task.name, len(task.sizes), int(task.sizes.sum())) for task in (first, second)) == [
        ("emt_mnist", 400, 400),
        ("ocr_vqa", 200, 400),
    ]
    # 30 lost and 30 gained of 400 in both.
    assert {task.changed for task in (first, second)} == {0.15}
    assert scenarios([first, second], Policy())[0].name == "nothing lost"
    start = time.monotonic()
    assert main(["gate", base, candidate, "--self-test", "--json"]) == 0
    assert time.monotonic() - start < 30
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["scenario"] == "nothing lost"
    for row in rows:
        assert row["passes"] + row["undecided"] + row["fails"] == pytest.approx(100)
        if row["scenario"].startswith("4 points"):
            assert row["passes"] < 5 + 200 / np.sqrt(row["draws"])


def test_runs_that_the_gate_would_not_decide_are_never_decided(tmp_path: Path) -> None:
    sides = [
        {"emt_mnist": [judged_sample(i, "unscored" if i < blank else "correct") for i in range(400)]}
        for blank in (0, 40)
    ]
    base, candidate = (
        read_run(write_run(tmp_path / name, side, name=name)) for name, side in zip("ab", sides, strict=True)
    )
    (task,) = plan_like(compare(base, candidate), Policy())
    assert task.blocked == "10.0 % of its documents are missing or unscored, more than 5 %"
    assert simulate([task], Policy(), Scenario(""), draws=60).share("undecided") == 100


def test_a_plan_needs_no_run_or_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    from emt_tasks.commands import gate

    monkeypatch.setattr(gate, "SECONDS", 1.0)
    monkeypatch.delenv("EMT_DATA_DIR", raising=False)
    assert main(["gate", "--plan"]) == 0
    table = capsys.readouterr().out
    assert "10 % of the answers changed" in table
    assert "5 points lost in oodt_oodi" in table
    base, candidate = runs(tmp_path)
    assert main(["gate", "--plan", base, "--tasks", "ocr_vqa", "--margin", "3", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["scenario"] for row in rows} == {
        "nothing lost",
        "3 points lost in oodt_oodi",
        "3.75 points lost in oodt_oodi",
    }
    assert main(["gate", "--plan", base, candidate]) == 2
    assert "--plan takes no candidate" in capsys.readouterr().err
    assert main(["gate", "--plan", "--tasks", "mmmu_val"]) == 2
    assert "plan with a run of the base" in capsys.readouterr().err
    assert main(["gate", base]) == 2
    assert "expected two runs, BASE and CANDIDATE" in capsys.readouterr().err


def test_what_scenarios_share_changes_none_of_them() -> None:
    """Tasks in quadrants and alone, on shared data, with clusters and documents that one run alone scored."""
    ones = np.ones(60, dtype=np.int64)
    tasks = [
        PlannedTask("a", "idt_idi", ones, 0.1, data="x"),
        PlannedTask("b", "idt_idi", ones, 0.2, data="x", one_sided=4),
        PlannedTask("c", None, np.full(12, 5), 0.1, together=0.4),
    ]
    policy = Policy(margin=3.0)
    asked = scenarios(tasks, policy)
    assert len(asked) == 5  # nothing lost; the margin, and more, in the quadrant and in c
    assert simulate_all(tasks, policy, asked, draws=6) == [simulate(tasks, policy, one, draws=6) for one in asked]
