"""A gate that is looked at while the documents come in: what it compares, when it ends, how often it errs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from emt_core.errors import UserError
from emt_core.looks import LOOKS, Look
from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.decide import decide
from leaderboards.gate.output import as_json, notes
from leaderboards.gate.policy import Policy
from leaderboards.gate.sequential import SequentialRates, going_on, simulate_looks
from leaderboards.gate.simulation import PlannedTask, Scenario
from leaderboards.statistics import score_statistic
from leaderboards.statistics.sequential import level_at, repeated_p_value
from tests.support.synthetic_runs import judged_sample, write_run

MOST = 2000
ORDER = np.random.default_rng(5).permutation(MOST)


def run_at(folder: Path, wrong: dict[str, set[int]], looks: dict[str, int], name: str = "m", most: int = MOST) -> Path:
    """A run that has answered the first documents of a random order, up to each task's look; 0: all, in one go."""
    tasks, counts = {}, {}
    for task, number in looks.items():
        look = Look.at(number, most) if number else None
        documents = ORDER[: look.documents if look else MOST]
        tasks[task] = [judged_sample(int(d), "incorrect" if d in wrong[task] else "correct") for d in sorted(documents)]
        counts[task] = {"counts": {"original": MOST} | ({"look": asdict(look)} if look else {})}
    return write_run(folder, tasks, name=name, **counts)


@pytest.mark.parametrize(("base_at", "candidate_at"), [(3, 3), (6, 3), (0, 3), (3, 6), (3, 0)])
def test_the_documents_of_the_earlier_look_are_compared(tmp_path: Path, base_at: int, candidate_at: int) -> None:
    lost = set(ORDER[:600:20].tolist()) | set(ORDER[600:].tolist())  # 30 of the first 600; then all, which nobody sees
    base = run_at(tmp_path / "b", {"emt_mnist": set()}, {"emt_mnist": base_at})
    candidate = run_at(tmp_path / "c", {"emt_mnist": lost}, {"emt_mnist": candidate_at}, "tuned")
    result = decide(compare(read_run(base), read_run(candidate)), Policy(margin=2.0))
    (task,), (unit,) = result.comparison.tasks, result.units
    assert (task.n, task.documents, task.flips.lost) == (600, 600, 30)
    assert task.look == unit.look == Look(3, 10, 600, MOST)
    assert "documents taken: emt_mnist 600 of 2,000 (look 3 of 10)" in list(notes(result))
    # The gate's own test, its p-value worth what it is at the third of ten looks; the bound decides alike.
    raw = task.sample.p_values(0.02)[1]
    assert unit.p_forgetting == pytest.approx(repeated_p_value(raw, 3, 10))
    assert raw < 0.001 < level_at(0.05, 3, 10) * 3
    assert (unit.drop.lower > 2.0) == (unit.outcome == "forgetting")
    fixed = task.sample.bounds(0.05, correction=0.5)
    assert unit.drop.lower < 100 * fixed[0] and 100 * fixed[1] < unit.drop.upper
    assert task.scores.forgetting.method == "Tango score, repeated"
    assert json.loads(as_json(result))["units"][0]["look"] == {"number": 3, "of": 10, "documents": 600, "most": MOST}


def test_a_document_that_a_run_should_have_is_missing(tmp_path: Path) -> None:
    base = run_at(tmp_path / "b", {"emt_mnist": set()}, {"emt_mnist": 6})
    candidate = run_at(tmp_path / "c", {"emt_mnist": set()}, {"emt_mnist": 3}, "tuned")
    (samples,) = candidate.glob("*.jsonl")
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-90]))
    (results,) = candidate.glob("*_results.json")
    content = json.loads(results.read_text())
    content["n-samples"]["emt_mnist"]["effective"] = 600
    results.write_text(json.dumps(content))
    (task,) = compare(read_run(base), read_run(candidate)).tasks
    assert (task.n, task.documents, task.excluded.missing_candidate) == (510, 600, 90)
    (unit,) = decide(compare(read_run(base), read_run(candidate)), Policy()).units
    assert unit.outcome == "undecided" and "15.0 % of its documents are missing" in unit.reason


def test_looks_of_other_caps_are_not_compared(tmp_path: Path) -> None:
    base = run_at(tmp_path / "b", {"emt_mnist": set()}, {"emt_mnist": 3})
    candidate = run_at(tmp_path / "c", {"emt_mnist": set()}, {"emt_mnist": 3}, "tuned", most=1000)
    with pytest.raises(UserError, match="the cap differs between base and candidate, 2000 in 10 looks and 1000 in 10"):
        compare(read_run(base), read_run(candidate))


def test_a_faulty_record_of_a_look_is_named(tmp_path: Path) -> None:
    run = run_at(tmp_path, {"emt_mnist": set()}, {"emt_mnist": 3})
    (results,) = run.glob("*_results.json")
    results.write_text(results.read_text().replace('"number": 3', '"number": 30'))
    with pytest.raises(UserError, match=r"n-samples.*look 30 of 10"):
        read_run(run)


def test_a_check_goes_on_with_what_is_open_until_one_has_forgotten(tmp_path: Path) -> None:
    half = set(ORDER[::2].tolist())
    few = set(ORDER[::40].tolist())
    tasks = {"emt_mnist": 4, "imagenet_vqa": 4, "flowers102": 4}

    def open_after(wrong: dict[str, set[int]], looks: dict[str, int]) -> list[str]:
        base = run_at(tmp_path / "b", nobody(tasks), looks)
        candidate = run_at(tmp_path / "c", wrong, looks, "tuned")
        return going_on(decide(compare(read_run(base), read_run(candidate)), Policy(margin=2.0)))

    assert open_after({"emt_mnist": set(), "imagenet_vqa": few, "flowers102": set()}, tasks) == ["imagenet_vqa"]
    assert open_after({"emt_mnist": half, "imagenet_vqa": few, "flowers102": set()}, tasks) == []
    assert open_after(nobody(tasks), tasks) == []
    assert open_after(dict.fromkeys(tasks, few), tasks | {"emt_mnist": LOOKS}) == ["flowers102", "imagenet_vqa"]


def test_a_task_that_is_decided_goes_on_with_its_quadrant(tmp_path: Path) -> None:
    looks = dict.fromkeys(("emt_mnist", "emt_cifar10", "flowers102"), 8)
    rare = set(ORDER[::200].tolist())
    base = run_at(tmp_path / "b", nobody(looks), looks)
    candidate = run_at(tmp_path / "c", nobody(looks) | {"emt_mnist": rare}, looks, "tuned")
    matrix = {"idt_idi": ("emt_mnist", "emt_cifar10"), "oodt_oodi": ("flowers102",)}
    # 0.5 points lost in one task of two is 0.25 in the quadrant: below 3 points, but not for sure below 0.3.
    policy = Policy(margin=3.0, quadrants={"idt_idi": 0.3})
    result = decide(compare(read_run(base), read_run(candidate), matrix=matrix), policy)
    assert {unit.name: unit.outcome for unit in result.units} == {
        "emt_cifar10": "not inferior",
        "emt_mnist": "not inferior",
        "flowers102": "not inferior",
        "idt_idi": "undecided",
    }
    assert going_on(result) == ["emt_cifar10", "emt_mnist"]


def nobody(tasks: Iterable[str]) -> dict[str, set[int]]:
    """No wrong answer in any of these tasks."""
    return {task: set() for task in tasks}


def vectorised(cap: int, gained: float, loss: float, draws: int) -> tuple[float, float, float, float]:
    """Documents on average, and the shares that pass, fail, and pass without looks: one task at a margin of 2 points.

    Written apart from the gate: the boundaries of α = 5 % against Tango's statistic at each look.
    """
    numbers = np.array([Look.at(k, cap).documents for k in range(1, LOOKS + 1)])
    rng, chances = np.random.default_rng(7), [gained + loss, gained, 1 - 2 * gained - loss]
    steps = [rng.multinomial(size, chances, draws) for size in np.diff([0, *numbers])]
    lost, won, _ = np.moveaxis(np.cumsum(steps, axis=0), 2, 0)
    below = -score_statistic(lost.T, won.T, numbers, 0.02, correction=-0.5)
    above = score_statistic(lost.T, won.T, numbers, 0.02, correction=0.5)
    from scipy.special import ndtri

    bounds = -ndtri([level_at(0.05, k, LOOKS) for k in range(1, LOOKS + 1)])
    passed, failed = below > bounds, above > bounds
    ended = passed | failed
    ended[:, -1] = True
    at, rows = ended.argmax(axis=1), np.arange(draws)
    shares = (100 * found.mean() for found in (passed[rows, at], failed[rows, at], below[:, -1] > 1.6449))
    return float(numbers[at].mean()), *shares  # type: ignore[return-value]


def simulated(cap: int, changed: float, loss: float, draws: int) -> tuple[float, float, float]:
    task = PlannedTask("a", None, np.ones(5000, dtype=np.int64), changed)
    found = simulate_looks([task], Policy(margin=2.0), Scenario("", {"a": 100 * loss}), cap=cap, draws=draws)
    return found.documents["a"], found.share("not inferior"), found.share("forgetting")


def test_the_gate_simulated_is_the_boundaries_on_tangos_statistic() -> None:
    for changed, loss in ((0.05, 0.0), (0.1, 0.05), (0.05, 0.02)):
        documents, passes, fails = simulated(2000, changed, loss, 300)
        expected = vectorised(2000, changed / 2, loss, 20_000)
        # 300 candidates: a share is known to ± 100·2·√(0.25/300) = 6 points, documents to ± 2·600/√300 = 70.
        assert documents == pytest.approx(expected[0], abs=75)
        assert (passes, fails) == pytest.approx(expected[1:3], abs=6)


CLAIMED = {
    # discordant, lost: documents on average, of 100 how many pass, how many fail, cap
    "nothing lost, 5 % changed": (0.05, 0.0, 2000, 1133, 99, 0),
    "5 points lost": (0.0, 0.05, 2000, 625, 0, 100),
    "10 points lost": (0.0, 0.10, 2000, 403, 0, 100),
    "10 points lost, 5 % changed": (0.05, 0.10, 2000, 505, 0, 100),
    "nothing lost, 15 % changed, cap 4,000": (0.15, 0.0, 4000, 2550, 94, 0),
}


@pytest.mark.parametrize("name", CLAIMED)
def test_what_it_takes_and_how_often_it_decides(name: str) -> None:
    changed, loss, cap, documents, passes, fails = CLAIMED[name]
    found = vectorised(cap, changed / 2, loss, 20_000)
    assert found[:3] == pytest.approx((documents, passes, fails), abs=0.7, rel=0.005)
    # What the looks cost: at most three points of power.
    assert 0 <= found[3] - found[1] <= 3


def test_the_cap_is_what_buys_power_and_looks_cost_little_of_it() -> None:
    fixed = vectorised(2000, 0.075, 0.0, 20_000)
    assert fixed[3] == pytest.approx(74, abs=1)
    assert fixed[1] == pytest.approx(72, abs=1)
    assert vectorised(4000, 0.075, 0.0, 20_000)[1] == pytest.approx(93.5, abs=0.7)


@pytest.mark.parametrize("gained", [0.0, 0.005, 0.02, 0.05, 0.15])
@pytest.mark.parametrize("cap", [500, 2000])
def test_at_the_margin_both_errors_are_as_rare_as_alpha_says(gained: float, cap: int) -> None:
    _, passes, fails, _ = vectorised(cap, gained, 0.02, 20_000)
    # 5 % ± 2·√(0.05·0.95/20,000) = ± 0.3 points; the test itself errs up to 5.5 %.
    assert passes <= 5.5
    assert fails <= 5.5


@pytest.mark.slow
def test_the_whole_gate_errs_as_rarely_with_looks() -> None:
    """Four tasks, one in clusters: at the margin in one of them, or at what fails nobody in all."""
    sizes = np.ones(3000, dtype=np.int64)
    tasks = [
        PlannedTask("a", "idt_idi", sizes, 0.1),
        PlannedTask("b", "idt_oodi", sizes, 0.1),
        PlannedTask("c", "oodt_idi", sizes, 0.2),
        PlannedTask("d", "oodt_oodi", np.full(700, 4), 0.1),
    ]
    draws = 400
    slack = 200 * np.sqrt(0.05 * 0.95 / draws)

    def simulated(lost: dict[str, float], draws: int = draws) -> SequentialRates:
        return simulate_looks(tasks, Policy(), Scenario("", lost), cap=2000, draws=draws)

    assert simulated({"b": 4.0}).share("not inferior") <= 5.5 + slack
    assert simulated(dict.fromkeys("abcd", 1.0)).share("forgetting") <= 5.5 + slack
    nothing = simulated({}, 200)
    assert nothing.share("not inferior") >= 90
    assert max(nothing.documents.values()) < 1500


@pytest.mark.slow
def test_tasks_of_one_quadrant_take_as_many_documents() -> None:
    sizes = np.ones(3000, dtype=np.int64)
    tasks = [PlannedTask("a", "oodt_idi", sizes, 0.2), PlannedTask("b", "oodt_idi", sizes, 0.2, data="a")]
    found = simulate_looks(tasks, Policy(), Scenario(""), cap=2000, draws=50)
    assert found.share("not inferior") >= 80
    assert found.documents["a"] == found.documents["b"] < 1700
