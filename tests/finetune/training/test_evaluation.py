"""Evaluation at checkpoints: a run folder as `emt eval` writes it, and training that does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emt_core.errors import UserError
from emt_tasks.commands.app import main

pytestmark = pytest.mark.usefixtures("data_dir")


# lmms-eval leaves the results file for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_evaluated_runs_are_lmms_evals_and_training_is_the_same(
    recipe_file: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = {"tasks": ["emt_mnist"], "batch_size": 2, "limit": 3}
    assert main(["finetune", recipe_file(steps=4, save={"every": 2}), f"output={tmp_path}/without"]) == 0
    assert main(["finetune", recipe_file(steps=4, save={"every": 2}, evaluate=tasks), f"output={tmp_path}/with"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[-2:] == [f"{tmp_path}/without/checkpoint-000004", f"{tmp_path}/with/checkpoint-000004"]
    one, other = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("with", "without"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())

    folders = sorted((tmp_path / "with" / "evaluations").iterdir())
    assert [folder.name for folder in folders] == ["step-000000", "step-000002", "step-000004"]
    for folder in folders:
        (results,) = folder.glob("*_results.json")
        (samples,) = folder.glob("*_samples_emt_mnist.jsonl")
        assert len(list(folder.iterdir())) == 2
        read = json.loads(results.read_text())
        assert read["config"]["model"] == "emt_vlm"
        assert 0 <= read["results"]["emt_mnist"]["accuracy,none"] <= 1
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        assert [row["doc_id"] for row in rows] == [0, 1, 2]
        assert all(row["verdict"]["category"] for row in rows)
    assert read["config"]["model_args"] == f"pretrained={tmp_path}/with/checkpoint-000004"
    log = [json.loads(line) for line in (tmp_path / "with" / "emt_train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "accuracy" in line] == [0, 2, 4]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]

    before = [folder.stat().st_mtime_ns for folder in folders]
    recipe = recipe_file(steps=4, save={"every": 2}, evaluate=tasks)
    assert main(["finetune", recipe, f"output={tmp_path}/with", "--resume"]) == 0
    assert [folder.stat().st_mtime_ns for folder in folders] == before


def test_tasks_are_checked_before_anything_loads(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    from finetune.recipes.files import read
    from finetune.training.run import finetune

    recipe = read(recipe_file(model=str(tmp_path / "no-such-model"), evaluate={"tasks": ["emt_minst"]}))
    with pytest.raises(UserError, match=r"unknown task 'emt_minst'; did you mean .*emt_mnist"):
        finetune(recipe)
    assert not (tmp_path / "run").exists()
