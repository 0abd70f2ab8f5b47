"""Files of VLMEvalKit: data/vlmevalkit is what its own code wrote, run by tests/support/vlmevalkit_runs.py."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.runs import Run, read_run
from leaderboards.comparison.samples import number_clusters, read_samples

DATA = Path(__file__).parent / "data" / "vlmevalkit"
SIDES = {"base": "QwenBase", "cand": "QwenTuned"}


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / request.param, tmp_path / request.param))


def own_figure(side: Path, name: str, column: str) -> float:
    with next(side.rglob(f"*{name}.csv")).open(encoding="utf-8") as lines:
        return float(next(csv.DictReader(lines))[column])


def mean(run: Run, task: str) -> float:
    value = read_samples(run.tasks[task]).frame["score"].mean()
    assert isinstance(value, float)
    return value


def test_means_are_those_that_vlmevalkit_computed(side: Path) -> None:
    """Of DocVQA too, whose `eval_score` is a distance: 1 − it is what counts."""
    run = read_run(side)
    assert run.name == SIDES[side.name]
    assert set(run.tasks) == {"DocVQA_VAL", "MMStar", "POPE"}
    assert mean(run, "MMStar") == pytest.approx(own_figure(side, "MMStar_acc", "Overall"))
    assert 100 * mean(run, "DocVQA_VAL") == pytest.approx(own_figure(side, "DocVQA_VAL_acc", "Overall"))
    assert 100 * mean(run, "POPE") == pytest.approx(own_figure(side, "POPE_score", "acc"))


def test_questions_about_one_image_are_one_cluster(side: Path) -> None:
    frame = read_samples(read_run(side).tasks["POPE"]).frame
    clusters = number_clusters(frame)
    assert clusters is not None
    assert len(set(clusters)) == 30  # 120 questions, four of each image
    assert set(frame["class"]) == {"random", "popular", "adversarial"}


def test_a_file_is_a_run(side: Path) -> None:
    file = next(side.rglob("*_exact_matching_result.*"))
    assert list(read_run(file).tasks) == ["MMStar"]
    moved = Path(shutil.move(file, side / f"elsewhere{file.suffix}"))
    assert list(read_run(moved).tasks) == ["samples"]


def test_predictions_without_scores_say_what_to_do(side: Path) -> None:
    next(side.rglob("*_exact_matching_result.*")).unlink()
    task = read_run(side).tasks["MMStar"]
    with pytest.raises(
        UserError, match=r"MMStar\.\w+: no metric .* judge its answers with emt judge, or leave the task"
    ):
        read_samples(task)


def test_two_results_or_two_evaluations_are_a_choice(side: Path) -> None:
    file = next(side.rglob("*_exact_matching_result.*"))
    second = file.with_name(file.name.replace("exact_matching", "gpt-4o-mini"))
    shutil.copy(file, second)
    with pytest.raises(UserError, match=r"contains two results of Qwen.*_MMStar, .* and .*: choose one file"):
        read_run(side)
    second.unlink()
    shutil.copytree(file.parent, file.parent.with_name("T20261102-120000"))
    with pytest.raises(UserError, match=r"contains 2 evaluations of VLMEvalKit: choose one, such as .*T20261102"):
        read_run(side)
