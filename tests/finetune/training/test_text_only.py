"""Batches of text alone, where only what sees images is trained: LLaVA-665K has 40,000 such entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emt_tasks.commands.app import main
from finetune.recipes.files import read
from finetune.training.run import finetune
from tests.finetune.training.test_command import LAUNCH, start


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """A LLaVA-style file without an image."""
    turns = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "Yes, and a bit more."}]
    file = tmp_path / "texts.json"
    file.write_text(json.dumps([{"conversations": turns}] * 8))
    return str(file)


def losses(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "emt_train.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("train", ["projector", "vision", ["projector", "vision"]])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_text_alone_leaves_the_weights_and_does_not_fail(
    recipe_file: Callable[..., str], tiny_llava: Path, texts: str, train: Any, checkpointing: bool
) -> None:
    recipe = recipe_file(
        train=train, steps=2, mixture={"sources": [{"data": texts}]}, gradient_checkpointing=checkpointing
    )
    last = finetune(read(recipe))
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_llava, last))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(loss > 1 for loss in losses(last.parent))


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_images_and_text_in_two_processes_train_as_in_one(
    recipe_file: Callable[..., str], tmp_path: Path, texts: str
) -> None:
    """By the shipped recipe, with half of the examples without an image: some processes have a batch with none."""
    recipe = recipe_file(
        train="projector", steps=4, batch={"size": 4, "micro": 1}, optimiser={"name": "sgd", "learning_rate": 0.1},
        mixture={"sources": [{"data": "mnist"}, {"data": texts, "ratio": 0.5}]},
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["finetune", recipe, f"output={one}"]) == 0
    pair = start(f"{LAUNCH} -m emt_tasks.commands.app", "finetune", recipe, f"output={two}")
    output, _ = pair.communicate(timeout=120)
    assert pair.returncode == 0, output
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    first, second = (load_file(folder / "last" / "model.safetensors") for folder in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.usefixtures("data_dir")
def test_the_hybrid_recipe_trains_a_projector_on_text_too(tiny_llava: Path, tmp_path: Path, texts: str) -> None:
    output = tmp_path / "hybrid"
    small = [
        "batch.size=4",
        "batch.micro=2",
        "epochs=null",
        "steps=3",
        "evaluate.tasks=[]",
        "mixture.sources.0.limit=8",
    ]
    arguments = [f"model={tiny_llava}", f"with={texts}", "part=projector", "share=0.5", f"output={output}", *small]
    assert main(["finetune", "forgetting_hybrid", *arguments]) == 0
    assert len(losses(output)) == 3
