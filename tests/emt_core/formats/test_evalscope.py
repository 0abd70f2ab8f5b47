"""Runs of EvalScope: data/evalscope has the first 12 of each subset of what tests/support/evalscope_runs.py wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.files import read_rows
from emt_core.runs import read_run
from leaderboards.comparison.samples import number_clusters, read_samples

DATA = Path(__file__).parent / "data" / "evalscope"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "base", tmp_path / "base"))


def test_a_benchmark_is_a_task_and_its_subsets_are_groups(run: Path) -> None:
    for path in (run, run / "run", run / "run" / "reviews" / "model-a"):
        found = read_run(path)
        assert (found.name, list(found.tasks)) == ("model-a", ["general_mcq"])
        task = found.tasks["general_mcq"]
        assert (task.version, task.higher_is_better) == ("v1.1", {"accuracy": True})
    frame = read_samples(task).frame
    assert frame["class"].value_counts().sort("class").rows() == [("doubles", 12), ("sums", 12)]
    rows = [row for _, row in read_rows(task.samples)]
    assert rows[0]["document"] == "doubles/0"
    assert "What is 0 times 2?" in rows[0]["input"]
    assert (rows[0]["filtered_resps"], rows[0]["target"]) == ("答案：A", "A")


def test_scores_that_could_not_be_had_are_unscored_and_repeats_are_clusters(run: Path) -> None:
    file = next(run.rglob("general_mcq_sums.jsonl"))
    rows = [row for _, row in read_rows(file)]
    rows[0]["sample_score"]["score"] |= {"status": "parse_error", "value": {"accuracy": 0.0}}
    for place, row in enumerate(rows):  # each question asked twice
        row["sample_score"]["group_id"] = place // 2
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    frame = read_samples(read_run(run).tasks["general_mcq"]).frame
    assert frame["unscored"].sum() == 1
    clusters = number_clusters(frame)
    # 12 documents of the other subset are their own; 6 questions were asked twice.
    assert clusters is not None
    assert len(set(clusters)) == 18


def test_faults_are_told(run: Path) -> None:
    file = next(run.rglob("general_mcq_sums.jsonl"))
    file.write_text('{"index": 0}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"general_mcq_sums\.jsonl:1: field 'sample_score': expected a score"):
        read_run(run)
    shutil.copytree(run / "run", run / "again")
    with pytest.raises(
        UserError, match=r"contains reviews of 2 models or runs of EvalScope: choose one, such as .*/run"
    ):
        read_run(run)
