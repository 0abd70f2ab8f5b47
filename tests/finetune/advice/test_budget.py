"""Sizes of a model without its weights, and what fits into how much memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.advice.budget import MEASURED, Sizes, fit, measure
from finetune.advice.sample import sample_training
from finetune.model import building
from finetune.recipes.files import checked
from finetune.recipes.schema import Recipe, SourceEntry
from finetune.training.memory import Workload

GIB = 2**30
SEVEN_B = Sizes(
    parts={"full": 7 * 10**9, "llm": 6 * 10**9, "llm_attention": 2 * 10**9, "projector": 2 * 10**7},
    adapters={"llm_attention": 10**6},
    step=Workload(
        trained=0, frozen=7 * 10**9, tokens=MEASURED * 700, answer_tokens=MEASURED * 10, layers=32, width=4096,
        vocabulary=32000, quantized=6 * 10**9,
    ),
)  # fmt: skip


def recipe(**fields: Any) -> Recipe:
    known = {
        "model": "m",
        "train": "projector",
        "mixture": {"sources": [{"data": "mnist"}]},
        "optimiser": {"learning_rate": 1e-5},
        "batch": {"size": 32, "micro": 8},
        "steps": 1,
        "output": "o",
    }
    return checked({**known, **fields}, "test")


def test_memory_by_hand() -> None:
    """Attention in full: 5e9 frozen weights in 2 bytes, 2e9 trained in 4, their gradients in 4, moments in 8."""
    found = SEVEN_B.memory(recipe(train="llm_attention"))
    assert (found.weights, found.gradients, found.optimiser) == (10**10 + 8 * 10**9, 8 * 10**9, 16 * 10**9)
    assert found.activations == 32 * 8 * 700 * 4096 * 34  # batch.micro is as many examples as were measured
    # LoRA of rank 64 trains 64e6 weights, and freezes all 7e9.
    lora = {"llm_attention": {"lora": {"rank": 64}}}
    assert SEVEN_B.memory(recipe(train=lora)).weights == 14 * 10**9 + 4 * 64 * 10**6
    # In 4 bits and 0.127 for the constants, the 6e9 of the language model take 6e9 · 4.127 / 8 bytes.
    small = SEVEN_B.memory(recipe(train=lora, quantization="nf4"))
    assert small.weights == 2 * 10**9 + int(6e9 * 4.127 / 8) + 4 * 64 * 10**6
    held = {"ewc": {"sources": [{"data": "mnist"}]}}
    assert SEVEN_B.memory(recipe(regularise=held)).regularisers == 2 * 4 * 2 * 10**7


def test_what_fits_where() -> None:
    attention, projector = recipe(train="llm_attention"), recipe()
    assert fit(SEVEN_B, attention, 24 * GIB) is None
    whole = fit(SEVEN_B, projector, 80 * GIB)
    assert whole and not whole.checkpointing and whole.micro == 16  # 32 would take 93 GiB of activations
    tight = fit(SEVEN_B, projector, 24 * GIB)
    assert tight and tight.checkpointing and tight.memory.total <= 0.9 * 24 * GIB


@given(st.integers(10, 300), st.integers(10, 300))
def test_more_memory_is_never_worse(one: int, other: int) -> None:
    """With more memory a recipe still fits, without checkpointing if it did, and with at least as many at a time."""
    less, more = (fit(SEVEN_B, recipe(), gib * GIB) for gib in sorted((one, other)))
    if less is None:
        return
    assert more is not None
    assert more.checkpointing <= less.checkpointing
    assert more.micro >= less.micro or less.checkpointing > more.checkpointing


def test_sizes_are_those_of_the_model_that_is_trained(tiny_llava: Path, data_dir: Path) -> None:
    """The adapters of rank 4 that peft makes, and the parts that are trained in full, have as many weights as said."""
    examples = sample_training(SourceEntry(data="mnist")).examples
    base = recipe(model=str(tiny_llava))
    sizes = measure(base, [examples])
    assert sizes.step.tokens % MEASURED == 0 and sizes.step.answer_tokens > MEASURED
    for train in (
        "projector",
        "llm_attention",
        {"llm_attention": {"lora": {"rank": 4}}},
        {"llm": {"lora": {"rank": 4}}},
    ):
        chosen = recipe(model=str(tiny_llava), train=train)
        model = building.make_trainable(building.empty_model(chosen), chosen)
        trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
        assert sizes.trained(chosen) == trained, train


def test_the_longest_source_counts(tiny_llava: Path, data_dir: Path) -> None:
    base = recipe(model=str(tiny_llava))
    short, long = (sample_training(SourceEntry(data=name)).examples for name in ("mnist", "ocr_vqa"))
    alone, both = measure(base, [short]), measure(base, [short, long])
    assert both.step.tokens == measure(base, [long]).step.tokens > alone.step.tokens
    assert measure(base, [()]).step.tokens == 0


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_dry_run_counts_quantized_weights_too(tiny_llava: Path, quantization: str) -> None:
    """The estimate beside that of the same recipe without quantization: fewer bytes, by what the layers save."""
    import torch

    from finetune.data.collate import TrainingBatch

    batch = TrainingBatch({}, torch.zeros(1, 4, dtype=torch.long), torch.zeros(1))
    train = {"llm_attention": {"lora": {"rank": 4}}}
    plain, small = (recipe(model=str(tiny_llava), train=train, quantization=chosen) for chosen in (None, quantization))
    sizes = measure(plain, [()])
    works = [Workload.of(building.make_trainable(building.empty_model(one), one), one, batch) for one in (plain, small)]
    assert works[1].quantized == sizes.step.quantized > 0
    assert works[0].frozen == works[1].frozen == sizes.weights
    saved = works[0].memory(plain).weights - works[1].memory(small).weights
    bytes_each = {"nf4": 4.127 / 8, "int8": 1.0}[quantization]
    assert saved == pytest.approx(sizes.step.quantized * (2 - bytes_each), abs=1)
