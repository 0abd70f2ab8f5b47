"""Real training on real handwritten digits: a tiny LLaVA learns, forgets, and need not. All through the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from emt_tasks.commands.app import main
from tools import train_tiny

# lmms-eval leaves the results file for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TASKS = ["demo_digits", "demo_shapes"]


@pytest.fixture
def finetune(tmp_path: Path) -> Callable[..., list[dict[str, float]]]:
    """Run a recipe through the command; returns the accuracies of each evaluation in percent, by task."""

    def run(**fields: Any) -> list[dict[str, float]]:
        recipe = {
            "train": "full",
            "schedule": {"name": "cosine", "warmup": 0.05},
            "batch": {"size": 32, "micro": 32},
            "precision": "fp32",
            "save": {"every": "end"},
            "evaluate": {"tasks": TASKS, "batch_size": 100},
            "output": str(tmp_path / "run"),
        }
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe | fields))
        assert main(["finetune", str(file)]) == 0
        lines = [json.loads(line) for line in (tmp_path / "run" / "emt_train.jsonl").read_text().splitlines()]
        scores = [line["accuracy"] for line in lines if "accuracy" in line]
        return [{task: 100 * score for task, score in one.items()} for one in scores]

    return run


@pytest.mark.parametrize(
    ("train", "rate", "others", "forgets"),
    [
        pytest.param("full", 2e-3, [], True, id="all weights at a high rate"),
        pytest.param("full", 3e-5, [], False, id="all weights at a low rate", marks=pytest.mark.slow),
        pytest.param("projector", 1e-3, [], False, id="the projector alone", marks=pytest.mark.slow),
        pytest.param(
            "full", 1e-3, [{"data": "demo_shapes", "ratio": 0.7}], False, id="a hybrid mixture", marks=pytest.mark.slow
        ),
    ],
)
def test_forgetting_and_how_not_to(
    finetune: Callable[..., list[dict[str, float]]],
    train: str,
    rate: float,
    others: list[dict[str, Any]],
    forgets: bool,
) -> None:
    """The shipped tiny model learns digits in two epochs: at least 20 points are lost on shapes, or at most 3."""
    before, after = finetune(
        model="emt:tiny",
        train=train,
        mixture={"sources": [{"data": "demo_digits"}, *others]},
        optimiser={"learning_rate": rate},
        epochs=2,
    )
    assert before["demo_digits"] < 60, before
    assert after["demo_digits"] > 90, after  # it learned, whether it forgot or not
    lost = before["demo_shapes"] - after["demo_shapes"]
    assert (lost >= 20) if forgets else (lost <= 3), (before, after)


def test_training_ends_once_another_task_is_shown_to_be_lost(
    finetune: Callable[..., list[dict[str, float]]], tmp_path: Path
) -> None:
    """The high rate loses shapes within an epoch; digits, which are learned, raise no alarm."""
    finetune(
        model="emt:tiny",
        mixture={"sources": [{"data": "demo_digits"}]},
        optimiser={"learning_rate": 2e-3},
        steps=120,
        evaluate={"tasks": []},
        probe={"tasks": TASKS, "every": 10, "documents": 16, "pool": 64, "stop": 5.0},
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "emt_train.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps[-1] < 120 and steps[-1] % 10 == 0
    assert (tmp_path / "run" / f"checkpoint-{steps[-1]:06d}" / "model.safetensors").is_file()
    last = [line["probe"] for line in lines if "probe" in line][-1]
    assert last["demo_shapes"]["evidence"] >= 2 / 0.05  # two tasks share the chance of a false alarm
    assert last["demo_digits"]["evidence"] < 2
    assert [line["step"] for line in lines if "probe" in line] == list(range(0, steps[-1] + 1, 10))


@pytest.mark.slow
def test_it_learns_both_from_random_weights(finetune: Callable[..., list[dict[str, float]]], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = train_tiny.build()
    model.save_pretrained(tmp_path / "random")
    processor.save_pretrained(tmp_path / "random")
    before, after = finetune(
        model=str(tmp_path / "random"),
        mixture={"sources": [{"data": "demo_shapes", "ratio": 0.6}, {"data": "demo_digits"}]},
        optimiser={"learning_rate": 1.5e-3, "betas": [0.9, 0.98], "weight_decay": 0.05},
        batch={"size": 64, "micro": 64},
        steps=800,
    )
    assert max(before.values()) < 20, before
    assert min(after.values()) > 90, after
