"""What is said when a device has too little memory, and when a disk has too little room."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.recipes.schema import Recipe
from finetune.training import memory, regularisers
from finetune.training.memory import Workload, advice
from finetune.training.run import finetune

SEVEN_B = Workload(
    trained=7 * 10**9, frozen=0, tokens=8 * 700, answer_tokens=8 * 20, layers=32, width=4096, vocabulary=32000
)
GIB = 2**30


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": "m",
            "train": "full",
            "mixture": {"sources": [{"data": "mnist"}]},
            "optimiser": {"learning_rate": 1e-5},
            "batch": {"size": 8, "micro": 8},
            "steps": 1,
            "output": "o",
        }
        | fields
    )


def test_the_estimate_by_hand() -> None:
    """Full fine-tuning with AdamW: 4 bytes a weight, 4 for its gradient, 8 for its moments."""
    found = SEVEN_B.memory(recipe())
    assert (found.weights, found.gradients, found.optimiser) == (28 * 10**9, 28 * 10**9, 56 * 10**9)
    assert found.activations == 32 * 8 * 700 * 4096 * 34  # 34 bytes for each layer, token and unit in 16 bits
    assert found.logits == 2 * 160 * 32000 * 4
    halved = SEVEN_B.memory(recipe(), examples=0.5)
    assert halved.activations * 2 == found.activations and halved.weights == found.weights
    frozen = SEVEN_B.memory(recipe(), lora=True)
    assert frozen.gradients == 0.02 * 28 * 10**9


@pytest.mark.parametrize(
    ("gib", "expected"),
    [  # 104 GiB of weights, gradients and moments; 23 GiB of activations for 8 examples
        (140, ["batch.micro=4 (", "gradient_checkpointing=true (", "LoRA ("]),
        (80, ["LoRA ("]),
        (24, ["LoRA with batch.micro=1, gradient_checkpointing=true ("]),
        (12, ["nothing short of a smaller model or of several devices"]),
    ],
)
def test_what_would_fit(gib: int, expected: list[str]) -> None:
    said = advice(SEVEN_B, recipe(), gib * GIB)
    assert said.startswith("a step needs about 127.") and f"the device has {gib}.0 GiB" in said
    assert all(text in said for text in expected)
    assert said.count(" GiB") == 2 + (len(expected) if "fit:" in said else 0)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried 9"),
    ],
)
def test_out_of_memory_is_one_line(
    recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(regularisers, "answer_losses", fails)
    monkeypatch.setattr(memory, "available", lambda: 10**6)
    with pytest.raises(
        UserError, match=r"^out of memory \(.*a step needs about .* MiB, and the device has 1.0 MiB"
    ) as one:
        finetune(read(recipe_file()))
    assert "\n" not in str(one.value)


@pytest.mark.usefixtures("data_dir")
def test_other_failures_stay_what_they_are(recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(regularisers, "answer_losses", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        finetune(read(recipe_file()))


@pytest.mark.usefixtures("data_dir")
def test_a_full_disk_while_logging_is_one_line(
    recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(self: Path, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        if self.name == "emt_train.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *arguments, **settings)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"^step 1: .*emt_train.jsonl cannot be written \(No space left on device\)"):
        finetune(read(recipe_file()))
