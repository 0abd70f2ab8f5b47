"""Logs of inspect_ai: data/inspect has what the real one wrote with its mock model (tests/support/inspect_runs.py)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.samples import read_samples

DATA = Path(__file__).parent / "data" / "inspect"


@pytest.fixture(params=["eval", "json"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pytest.importorskip("inspect_ai.log", reason="needs inspect_ai: pip install 'emt-eval[inspect]'")
    return Path(shutil.copytree(DATA / request.param, tmp_path / "logs"))


def test_each_log_is_a_task_and_each_scorer_a_metric(run: Path) -> None:
    found = read_run(run)
    assert found.name == "mockllm/model"
    metrics = {name: task.metrics for name, task in found.tasks.items()}
    # 5 of 8 were answered rightly; "C" is 1 and "I" is 0.
    assert read_samples(found.tasks["sums"]).frame["score"].sum() == 5
    if next(run.iterdir()).suffix == ".json":
        assert metrics == {"sums": ("match",)}
        return
    assert metrics == {
        "graded": ("grade", "rubric.form", "rubric.content"),
        "options": ("choice",),
        "sums": ("match",),
    }
    assert read_samples(found.tasks["options"]).frame["score"].sum() == 5
    # "The sum is 4" has more than ten letters, as "I do not know" has: each is graded 10.
    assert set(read_samples(found.tasks["graded"], "grade:higher").frame["score"]) == {10}


def test_a_log_alone_is_a_run(run: Path) -> None:
    file = next(file for file in run.iterdir() if "_sums_" in file.name)
    assert list(read_run(file).tasks) == ["sums"]


def test_logs_that_are_no_run(run: Path) -> None:
    first = next(file for file in run.iterdir() if "_sums_" in file.name)
    shutil.copy(first, first.with_name(f"again_{first.name}"))
    with pytest.raises(UserError, match=r"contains two logs of sums, .* and .*: choose one"):
        read_run(run)
    if first.suffix == ".json":
        log = json.loads(first.read_text(encoding="utf-8")) | {"status": "cancelled"}
        first.write_text(json.dumps(log), encoding="utf-8")
        with pytest.raises(UserError, match=r"did not finish \(status cancelled\): run inspect eval-retry"):
            read_run(first)


def test_without_inspect_ai_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("inspect_ai", "inspect_ai.log"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "x.eval").write_bytes(b"PK")
    with pytest.raises(
        UserError, match=r"x\.eval is a log of inspect_ai, which is not installed: pip install 'emt-eval"
    ):
        read_run(tmp_path)
