"""Calibration by hand, and what the commands print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from judges.rerun.agreement import error_rates, read_opinions
from judges.rerun.calibration import calibrate


def test_by_hand() -> None:
    """60 answers at 0.9, 48 of them right; 40 at 0.5, 10 right."""
    found = calibrate([0.9] * 60 + [0.5] * 40, [True] * 48 + [False] * 12 + [True] * 10 + [False] * 30)
    assert [(level.answers, level.right) for level in found.levels] == [(40, 10), (60, 48)]
    assert [level.fitted for level in found.levels] == pytest.approx([0.25, 0.8])
    assert found.error == pytest.approx(0.6 * (0.9 - 0.8) + 0.4 * (0.5 - 0.25))
    # (0.1² · 48 + 0.9² · 12 + 0.5² · 40) / 100
    assert found.brier == pytest.approx((0.48 + 9.72 + 10) / 100)
    assert found.error_fitted < found.error and found.brier_fitted < found.brier
    # The rules alone keep 12 + 30 wrong ones; above 0.5 only 12; above 0.9 none.
    assert [choice.asked for choice in found.thresholds] == pytest.approx([0, 0.4, 1])
    assert [choice.wrong for choice in found.thresholds] == pytest.approx([0.42, 0.12, 0])
    assert found.for_error(0.2).threshold == found.for_calls(0.5).threshold == 0.9
    assert found.for_error(0.01).asked == 1


def test_what_never_rises_is_pooled() -> None:
    """Where surer verdicts are less often right, isotonic regression gives both their common share."""
    found = calibrate([0.6] * 50 + [0.9] * 50, [True] * 40 + [False] * 10 + [True] * 30 + [False] * 20)
    assert [level.fitted for level in found.levels] == pytest.approx([0.7, 0.7])


def test_few_answers_are_refused() -> None:
    with pytest.raises(UserError, match="49 labelled answers; expected at least 50"):
        calibrate([0.5] * 49, [True] * 49)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Sixty plain answers, right and wrong ones, labelled as the rules see them, but for six."""
    rows = []
    for number in range(60):
        right = number % 2 == 0
        correct = right if number >= 6 else not right
        row = {"id": str(number), "task": "cifar10", "label": "cat", "prediction": "cat" if right else "a dog"}
        row |= {"correct": correct, "style": "short" if number < 20 else "plain"}
        rows.append(json.dumps(row))
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_the_command(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "calibration.json"
    assert main(["judge", "calibrate", str(labelled), "--max-error", "0.06", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "54 of 60 verdicts are right" in printed
    assert "--max-error: --threshold" in printed
    written = json.loads(out.read_text())
    assert written["right"] == 54
    assert written["chosen"]["max_error"]["wrong"] <= 0.06


def test_error_rates_by_group(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules take 3 of 30 wrong answers for right, all of them short ones, and 3 right ones for wrong."""
    judged = tmp_path / "judged.jsonl"
    assert main(["judge", str(labelled), "-o", str(judged)]) == 0
    rates = {one.group: one for one in error_rates(read_opinions(judged), read_opinions(labelled), "style")}
    assert (rates["all"].false_correct, rates["all"].false_wrong) == (0.1, 0.1)
    assert (rates["short"].wrong, rates["short"].false_correct) == (10, 0.3)
    assert rates["plain"].false_correct == 0
    low, high = rates["short"].false_correct_interval or (0, 0)
    assert low == pytest.approx(0.108, abs=1e-3) and high == pytest.approx(0.603, abs=1e-3)  # Wilson, 3 of 10
    capsys.readouterr()
    out = tmp_path / "agreement.json"
    assert main(["judge", "agreement", str(judged), str(labelled), "--by", "style", "-o", str(out)]) == 0
    assert "wrong, A says correct" in capsys.readouterr().out
    assert [one["group"] for one in json.loads(out.read_text())["error_rates"]] == ["all", "short", "plain"]
    assert main(["judge", "agreement", str(judged), str(labelled), "--by", "colour"]) == 2
    assert "--by colour: no row has this field" in capsys.readouterr().err
