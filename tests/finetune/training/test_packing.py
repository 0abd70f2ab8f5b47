"""Packing: examples in one row are learned as they are alone, or the architecture is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from finetune.data.collate import IGNORED, TrainingBatch
from finetune.data.conversations import TrainingExample, Turn
from finetune.model.building import make_collator
from finetune.recipes.files import read
from finetune.training.loss import answer_losses
from finetune.training.packing import check_packing, pack
from finetune.training.run import finetune
from tests.support import tiny_checkpoints
from tests.support.small_configs import small_models

PACKS = {"fast_vlm", "llava", "llava_onevision", "idefics3", "qwen2_5_vl"}
"""The others read images both ways (Gemma 3, PaliGemma), count positions by the mask (OPT), or have an encoder (T5)."""

BATCH = {"size": 8, "micro": 4}
MIXTURE = {"sources": [{"data": "mnist", "ratio": 0.5}, {"data": "ocr_vqa", "ratio": 0.5}]}
WORDS = ("", " really and truly", " now")


def batch_of(model: Any, folder: Path, images: int, rows: int = 3) -> TrainingBatch:
    pictures = [[Image.effect_noise((32, 32), 80).convert("RGB")] * images for _ in range(rows)]
    examples = [
        TrainingExample((Turn(f"What is it{WORDS[row]}?", "a frog" + WORDS[-row]),), list, images, "here")
        for row in range(rows)
    ]
    return make_collator(model, AutoProcessor.from_pretrained(folder))(examples, pictures, list(range(rows)))


def check(model: Any, batch: TrainingBatch) -> None:
    head = model.get_output_embeddings()

    @torch.no_grad()
    def losses(batch: TrainingBatch, packing: bool) -> torch.Tensor:
        return answer_losses(model, head, batch, packing=packing)[0]

    check_packing(losses, batch, exact=True)


@pytest.mark.parametrize("architecture", sorted(tiny_checkpoints.ARCHITECTURES))
def test_an_architecture_packs_or_is_refused(architecture: str, tiny: Callable[[str], Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny(architecture), dtype=torch.float32).eval()
    batch = batch_of(model, tiny(architecture), 1)
    if architecture in PACKS:
        check(model, batch)
        return
    with pytest.raises(UserError, match=r"^batch\.packing: .*; set it to false$"):
        check(model, batch)


@pytest.mark.parametrize("images", [0, 1, 2])
@pytest.mark.parametrize("architecture", sorted(PACKS))
def test_losses_sources_and_gradients_are_those_of_padded_rows(
    architecture: str, images: int, tiny: Callable[[str], Path]
) -> None:
    model: Any = AutoModelForImageTextToText.from_pretrained(tiny(architecture), dtype=torch.float32)
    head, batch = model.get_output_embeddings(), batch_of(model, tiny(architecture), images)
    packed = pack(model, batch.inputs)
    assert packed["input_ids"].shape == (1, int(batch.inputs["attention_mask"].sum()))
    assert "attention_mask" not in packed
    found = []
    for packing in (False, True):
        model.zero_grad()
        losses, sources = answer_losses(model, head, batch, packing=packing)
        losses.sum().backward()
        gradients = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
        found.append((losses.detach(), sources, gradients))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


def test_a_row_lists_examples_one_after_another(tiny_llava: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny_llava)
    inputs = {
        "input_ids": torch.tensor([[5, 6, 0], [7, 8, 9]]),
        "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        "pixel_values": torch.ones(2, 3, 4, 4),
    }
    packed = pack(model, inputs)
    assert packed["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert packed["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert packed["pixel_values"].shape == (2, 3, 4, 4)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-3), ("bf16", 3e-2)])
def test_a_run_learns_the_same(
    precision: str, rounding: float, recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    runs = {}
    for packing in (False, True):
        batch, output = BATCH | {"packing": packing}, tmp_path / f"{packing}"
        finetune(read(recipe_file(batch=batch, mixture=MIXTURE, precision=precision, output=str(output))))
        lines = [json.loads(line) for line in (output / "emt_train.jsonl").read_text().splitlines()]
        runs[packing] = [line["loss"] for line in lines if "loss" in line]
    assert len(runs[True]) == 6
    assert runs[True] == pytest.approx(runs[False], rel=rounding)


@pytest.mark.usefixtures("data_dir")
def test_a_run_is_refused_before_its_first_step(
    recipe_file: Callable[..., str], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    recipe = read(recipe_file(batch=BATCH | {"packing": True}, model=str(tiny("gemma3")), output=str(tmp_path / "run")))
    with pytest.raises(
        UserError, match=r"batch\.packing: not with a model that reads images both ways; set it to false"
    ):
        finetune(recipe)
    assert not list((tmp_path / "run").glob("step-*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_family_packs_wrongly() -> None:
    """In text, each family that can be built small packs other batches rightly too, or is refused."""
    states: Counter[str] = Counter()
    for family, model in small_models():
        try:
            torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)
            answer_losses(model, model.get_output_embeddings(), rows_of_text(0))
        except Exception:  # noqa: BLE001 - a family that takes no text alone
            continue
        try:
            check(model, rows_of_text(0))
        except UserError:
            states["refused"] += 1
            continue
        for seed in range(1, 4):
            losses = [
                answer_losses(model, model.get_output_embeddings(), rows_of_text(seed), packing=packing)[0].detach()
                for packing in (False, True)
            ]
            torch.testing.assert_close(*losses, atol=1e-3, rtol=0, msg=lambda said, of=family: f"{of}: {said}")
        states["packed"] += 1
    assert states["packed"] >= 40, states
    assert states["refused"] >= 5, states  # those with linear attention


def rows_of_text(seed: int) -> TrainingBatch:
    """Three rows of 9, 14 and 12 random tokens, all but the first five of which are learned."""
    ids = torch.randint(20, 150, (3, 14), generator=torch.Generator().manual_seed(seed))
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, length in enumerate((9, 14, 12)):
        mask[row, :length] = 1
        labels[row, 4 : length - 1] = ids[row, 5:length]
    return TrainingBatch({"input_ids": ids, "attention_mask": mask}, labels, torch.arange(3))
