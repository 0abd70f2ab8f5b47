"""The sentence on top: true, with numbers, and with how sure it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.decide import GateResult, decide
from leaderboards.gate.policy import Policy
from leaderboards.report.verdict import describe, describe_all
from tests.support.synthetic_runs import judged_sample, write_run


def _gate(folder: Path, lost: int, n: int = 1000, policy: Policy = Policy(margin=2.0)) -> GateResult:  # noqa: B008
    rows = [judged_sample(i, "correct") for i in range(n)]
    worse = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(n)]
    base, candidate = (
        write_run(folder / str(lost), {"emt_mnist": samples}, name=name)
        for name, samples in (("base", rows), ("candidate", worse))
    )
    return decide(compare(read_run(base), read_run(candidate)), policy)


def test_forgetting(tmp_path: Path) -> None:
    verdict = describe(_gate(tmp_path, 100), "new", "old")
    assert verdict.word == "Forgetting"
    # 100 of 1,000 lost; 8.5 to 11.7 are the gate's own bounds.
    assert "emt_mnist, 10.0 points (90 % interval 8.5 to 11.7) (margin 2)" in verdict.sentence
    assert verdict.sentence.startswith("new forgot, compared with old")
    assert "that lost no more than 2 points anywhere would fail at most 5 % of the time" in verdict.sentence
    assert verdict.worst == "emt_mnist: 10.0 (8.5 to 11.7) points, margin 2"
    both = describe(_gate(tmp_path, 100, policy=Policy()), "new", "old")
    assert both.worst == "emt_mnist: 10.0 (8.5 to 11.7) points, margin 4, fails above 1"
    assert "that lost no more than 1 point anywhere would fail" in both.sentence


def test_no_forgetting(tmp_path: Path) -> None:
    result = _gate(tmp_path, 2)
    verdict = describe(result, "new", "old")
    drop = result.units[0].drop
    assert drop is not None
    assert f"it lost at most {drop.upper:.1f} points of the 2 allowed (95 % confidence)" in verdict.sentence
    assert "on the one task compared" in verdict.sentence


@pytest.mark.parametrize(
    ("lost", "n", "reason"), [(15, 1000, "documents would decide"), (1, 50, "50 documents, fewer than the 100")]
)
def test_undecided_says_why(tmp_path: Path, lost: int, n: int, reason: str) -> None:
    verdict = describe(_gate(tmp_path, lost, n), "new", "old")
    assert verdict.word == "Undecided"
    assert reason in verdict.sentence
    assert f"it lost {100 * lost / n:.1f} points" in verdict.sentence


def test_several_candidates_are_counted(tmp_path: Path) -> None:
    results = [_gate(tmp_path, lost) for lost in (100, 2, 15)]
    assert describe_all(results, "old") == (
        "Of 3 candidates compared with old, 1 forgot, 1 stayed within the margin and 1 remained undecided "
        "for lack of evidence (each at 95 % confidence)."
    )
