"""The gate's verdicts: what passes, what fails, what stays undecided, and why."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.decide import GateResult, decide
from leaderboards.gate.needed import Needed, Plan
from leaderboards.gate.policy import Policy
from leaderboards.gate.simulation import PlannedTask, Scenario, simulate
from leaderboards.statistics import PairedSample
from tests.support.synthetic_runs import judged_sample, write_run

Gate = Callable[..., GateResult]


def changed(n: int, lost: int, gained: int = 0, *, unscored: int = 0, side: str) -> list[dict[str, Any]]:
    """One side of a task of `n` documents: `gained` wrong at first, `lost` wrong at last, the rest right."""
    wrong = range(lost) if side == "candidate" else range(lost, lost + gained)
    blank = range(n - unscored, n) if side == "candidate" else range(0)
    return [
        judged_sample(index, "unscored" if index in blank else "incorrect" if index in wrong else "correct")
        for index in range(n)
    ]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    def run(
        tasks: dict[str, tuple[int, ...]],
        policy: Policy | None = None,
        *,
        only_base: tuple[str, ...] = (),
        unscored: int = 0,
        **options: Any,
    ) -> GateResult:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        sides = {
            side: {name: changed(*counts, unscored=unscored, side=side) for name, counts in tasks.items()}
            for side in ("base", "candidate")
        }
        sides["base"].update({name: changed(200, 0, side="base") for name in only_base})
        first, second = (read_run(write_run(folder / side, sides[side], name=side)) for side in sides)
        return decide(compare(first, second, **options), policy or Policy(margin=2.0))

    return run


def test_the_three_verdicts(gate: Gate) -> None:
    # At 5 % one-sided and n = 1000, a margin of 2 points is cleared by 0.5 % lost, and broken by 4 %; 2 % is open.
    for lost, outcome, code in ((5, "not inferior", 0), (40, "forgetting", 1), (20, "undecided", 2)):
        result = gate({"flowers102": (1000, lost)})
        assert (result.outcome, result.exit_code) == (outcome, code)
        unit = result.units[0]
        assert unit.drop is not None
        assert unit.drop.estimate == pytest.approx(lost / 10)
        below, above = unit.drop.lower or 0, unit.drop.upper or 0
        assert {"not inferior": above < 2, "forgetting": below > 2, "undecided": below < 2 < above}[outcome]


def test_a_run_against_itself_passes_where_the_sample_is_large_enough(gate: Gate) -> None:
    # Nothing changed: the corrected bound is that of half a lost sample. 1000 documents clear 2 points, 100 do not.
    assert gate({"flowers102": (1000, 0)}).outcome == "not inferior"
    small = gate({"flowers102": (100, 0)})
    assert small.outcome == "undecided"
    needed = small.units[0].needed and small.units[0].needed.documents
    assert needed is not None
    # With that many more of the same, it passes; with 150, not (the uncorrected bound alone asks for 133).
    assert gate({"flowers102": (needed, 0)}).outcome == "not inferior"
    assert gate({"flowers102": (150, 0)}).outcome == "undecided"


def test_the_number_needed_decides(gate: Gate) -> None:
    open_case = gate({"flowers102": (400, 4)}).units[0]
    assert open_case.outcome == "undecided"
    assert open_case.needed is not None
    n = open_case.needed.documents
    assert n is not None
    assert n > 400
    assert gate({"flowers102": (n, round(n * 0.01))}).outcome == "not inferior"
    # A drop that is the margin itself can never be decided, and with one limit any may be.
    at_the_margin = gate({"flowers102": (400, 8)}).units[0].needed
    assert at_the_margin is not None
    assert (at_the_margin.documents, at_the_margin.upper) == (None, None)
    assert open_case.needed.upper is None


def test_with_two_limits_a_loss_passes_fails_or_lies_between(gate: Gate) -> None:
    # 1000 documents at 5 %: 2 points lost are at most 2.9 and pass below 4; 4 are more than 1 and not shown below 4.
    for lost, outcome in ((20, "not inferior"), (40, "forgetting"), (0, "not inferior"), (80, "forgetting")):
        assert gate({"flowers102": (1000, lost)}, Policy()).outcome == outcome
    # With a hundred documents, 3 points may be 0.9 or 8; whatever the truth is, some number of documents decides.
    small = gate({"flowers102": (100, 3)}, Policy()).units[0]
    assert (small.outcome, small.margin, small.fails_above) == ("undecided", 4.0, 1.0)
    assert small.needed is not None
    assert small.needed.upper is not None
    assert 100 <= small.needed.lower <= small.needed.documents <= small.needed.upper  # type: ignore[operator]
    n = small.needed.documents or 0
    assert gate({"flowers102": (n, round(n * 0.03))}, Policy()).outcome != "undecided"


def test_what_can_be_detected_is_found_with_the_power_that_is_said() -> None:
    # 2000 documents of which 10 % are lost and 10 % gained; then so much more is lost: 80 % of candidates fail.
    task = PlannedTask("a", None, np.ones(2000, dtype=np.int64), 0.2)
    unchanged = PairedSample.from_counts(2000, 200, 200)
    for policy in (Policy(), Policy(margin=2.0)):
        points = Plan(unchanged, policy.limits_of("a", None, alone=False), policy.alpha, 1).detectable()
        assert points is not None
        found = simulate([task], policy, Scenario("", {"a": points}), draws=1500)
        assert found.share("forgetting") == pytest.approx(80, abs=5)


def test_one_forgetful_task_fails_the_candidate_and_holm_guards_the_others(gate: Gate) -> None:
    result = gate({"a": (1000, 5), "b": (1000, 60), "c": (1000, 5)})
    assert result.outcome == "forgetting"
    assert {unit.name: unit.outcome for unit in result.units} == {
        "a": "not inferior",
        "b": "forgetting",
        "c": "not inferior",
    }
    alone = gate({"b": (1000, 30)})
    assert alone.outcome == "forgetting"
    # Among eight blameless tasks, the same drop is no longer beyond chance.
    crowd = gate({"b": (1000, 30)} | {f"a{i}": (1000, 5) for i in range(8)})
    assert next(unit for unit in crowd.units if unit.name == "b").outcome == "undecided"
    b = next(unit for unit in crowd.units if unit.name == "b")
    assert b.p_forgetting_adjusted == pytest.approx(9 * (b.p_forgetting or 0))


def test_gains_make_up_for_losses(gate: Gate) -> None:
    assert gate({"flowers102": (1000, 50, 50)}).units[0].drop.estimate == 0.0  # type: ignore[union-attr]


def test_margins_of_tasks_and_quadrants(gate: Gate) -> None:
    tasks = {"flowers102": (1000, 5), "mmmu": (1000, 5)}
    strict = gate(tasks, Policy(margin=2.0, tasks={"mmmu": 0.1}, quadrants={"idt_oodi": 4.0}))
    assert {unit.name: unit.margin for unit in strict.units} == {"flowers102": 4.0, "mmmu": 0.1}
    assert strict.outcome == "forgetting" or strict.outcome == "undecided"
    with pytest.raises(UserError, match="policy tasks: flowers not found; the runs have flowers102, mmmu"):
        gate(tasks, Policy(tasks={"flowers": 1.0}))
    with pytest.raises(UserError, match="policy quadrants: idt not found; the runs have idt_idi"):
        gate(tasks, Policy(quadrants={"idt": 1.0}))


def test_a_quadrant_of_several_tasks_is_tested_too(gate: Gate) -> None:
    matrix = {"idt_idi": ("a", "b")}
    result = gate({"a": (1000, 15), "b": (1000, 15)}, Policy(margin=2.0, quadrants={"idt_idi": 2.2}), matrix=matrix)
    units = {unit.name: unit for unit in result.units}
    assert [unit.kind for unit in result.units] == ["task", "task", "quadrant"]
    assert units["idt_idi"].margin == 2.2
    assert units["idt_idi"].n == 2000
    # 1.5 points each: one task of 1000 cannot tell, both together can.
    assert units["a"].outcome == "undecided"
    assert units["idt_idi"].outcome == "not inferior"


def test_too_few_documents_decide_nothing(gate: Gate) -> None:
    result = gate({"flowers102": (50, 50)})
    unit = result.units[0]
    assert (unit.outcome, unit.needed) == (
        "undecided",
        Needed(100, 100, 100),
    )  # 50 would show so much forgetting, but 100 are asked for
    assert unit.reason == "50 documents, fewer than the 100 asked for"
    unchanged = gate({"flowers102": (50, 0)}).units[0].needed
    assert unchanged is not None
    assert (unchanged.documents or 0) > 133
    assert gate({"flowers102": (50, 50)}, Policy(minimum_n=50)).outcome == "forgetting"


def test_too_many_unscored_documents_decide_nothing(gate: Gate) -> None:
    result = gate({"flowers102": (1000, 0)}, unscored=60)
    assert result.outcome == "undecided"
    assert result.units[0].reason == "6.0 % of its documents are missing or unscored, more than 5 %"
    # Waiving that share does not make them harmless: 6 points may be lost.
    waived = gate({"flowers102": (1000, 0)}, Policy(maximum_excluded=6), unscored=60)
    assert (waived.outcome, "60 documents that only one run scored" in waived.units[0].reason) == ("undecided", True)


def test_tasks_that_the_candidate_did_not_run_block_it(gate: Gate) -> None:
    result = gate({"flowers102": (1000, 0)}, only_base=("ocr_vqa",))
    assert result.outcome == "undecided"
    assert result.units[-1].reason == "required, but candidate did not run it"
    waived = gate({"flowers102": (1000, 0)}, Policy(required=("flowers102",)), only_base=("ocr_vqa",))
    assert waived.outcome == "not inferior"
    absent = gate({"flowers102": (1000, 0)}, Policy(required=("mmmu",)))
    assert absent.units[-1].reason == "required, but base and candidate did not run it"


def test_nothing_scored_at_all(gate: Gate) -> None:
    result = gate({"flowers102": (200, 0)}, unscored=200)
    assert result.outcome == "undecided"
    assert result.units[0].drop is None
    assert result.units[0].reason.startswith("100.0 % of its documents")


def test_what_one_run_alone_scored_counts_against_either_verdict(gate: Gate) -> None:
    # 98 of 2,000 answers of the candidate are unscored, where the base is right: between 0 and 4.9 points are lost.
    policy = Policy(margin=2.0, maximum_excluded=5.0)
    result = gate({"flowers102": (2000, 0)}, policy, unscored=98)
    assert result.exit_code == 2
    assert result.units[0].reason.startswith("98 documents that only one run scored could turn it: evaluate or judge")
    # 10 of them are at most half a point: whatever they are, the drop stays below the margin.
    assert gate({"flowers102": (2000, 0)}, policy, unscored=10).exit_code == 0
    # And 200 lost of 2,000 are forgetting even if all that is missing were right.
    assert gate({"flowers102": (2000, 200)}, policy, unscored=98).exit_code == 1


def test_tasks_that_share_documents_are_not_independent(tmp_path: Path) -> None:
    # Two tasks in one quadrant on one data set: their intervals are averaged, not narrowed by √2.
    widths = {}
    for name, config in (("apart", {}), ("shared", {"config": {"dataset_path": "one"}})):
        runs = [
            read_run(
                write_run(
                    tmp_path / name / side,
                    {task: changed(1000, 30, side=side) for task in ("a", "b")},
                    name=side,
                    a=config,
                    b=config,
                )
            )
            for side in ("base", "candidate")
        ]
        result = decide(compare(*runs, matrix={"idt_idi": ("a", "b")}), Policy(margin=2.0))
        task, _, quadrant = (unit.drop for unit in result.units)
        assert task is not None
        assert quadrant is not None
        widths[name] = ((quadrant.upper or 0) - 3) / ((task.upper or 0) - 3)
    assert widths == {"apart": pytest.approx(sqrt(1 / 2)), "shared": pytest.approx(1)}


def test_few_images_decide_nothing(tmp_path: Path) -> None:
    # 200 questions about 10 images, none of them answered otherwise: ten images are too few to tell.
    rows = [judged_sample(index, "correct") | {"cluster": f"image {index // 20}"} for index in range(200)]
    runs = [read_run(write_run(tmp_path / side, {"ocr_vqa": rows}, name=side)) for side in ("base", "candidate")]
    result = decide(compare(*runs), Policy(margin=2.0))
    assert (result.exit_code, result.units[0].reason) == (2, "questions about 10 images, fewer than the 20 asked for")
