"""A frozen vision tower runs once for each image, and nothing else changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_tasks.models.parts import vision_tower
from emt_tasks.models.per_image import can_be_cached, describe
from finetune.data.conversations import TrainingExample, Turn
from finetune.model.building import keep_statistics, make_collator
from finetune.model.feature_store import FeatureStore
from finetune.model.features import cached_tower
from finetune.recipes.files import read
from finetune.training.loss import answer_losses
from finetune.training.run import finetune
from tests.support import tiny_checkpoints

IMAGES, BATCH = 6, 2
GIB = 2**30


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Images of different sizes, all noise."""
    rng = np.random.default_rng(0)
    sizes = [(40, 30), (64, 64), (30, 90)]
    return [
        Image.fromarray(rng.integers(0, 255, (*sizes[number % 3][::-1], 3), dtype=np.uint8)) for number in range(IMAGES)
    ]


class Tiny:
    """A tiny model whose vision tower is frozen, and the rows that its tower's blocks have seen."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        keep_statistics(self.model)
        self.model.train()
        self.tower = vision_tower(self.model)
        self.tower.requires_grad_(False)
        self.collate = make_collator(self.model, AutoProcessor.from_pretrained(folder))
        self.runs = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the true passes of the tower's first layer."""
        layer = next(module for module in self.tower.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d))
        handle = layer.register_forward_hook(lambda *_: setattr(self, "runs", self.runs + 1))
        yield
        handle.remove()

    def epoch(self, pictures: list[Image.Image], order: list[int]) -> list[torch.Tensor]:
        """Return the loss and the gradients of each batch, in the order of its images."""
        found = []
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            examples = [TrainingExample((Turn("What is it?", f"noise {n}"),), list, 1, "row") for n in chosen]
            batch = self.collate(examples, [[pictures[n]] for n in chosen], chosen)
            self.model.zero_grad()
            torch.manual_seed(start)  # for what the Q-Former drops
            losses, _ = answer_losses(self.model, self.model.get_output_embeddings(), batch)
            losses.sum().backward()
            gradients = [w.grad.flatten() for w in self.model.parameters() if w.grad is not None]
            found.append(torch.cat([losses.detach(), *gradients]))
        return found


@pytest.mark.parametrize("name", sorted(tiny_checkpoints.ARCHITECTURES))
def test_the_same_losses_and_gradients(
    name: str, tiny: Callable[[str], Path], pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = Tiny(tiny(name))
    assert can_be_cached(model.tower)
    orders = [list(range(IMAGES)), [5, 2, 0, 4, 1, 3]]
    expected = [model.epoch(pictures, order) for order in orders]
    with cached_tower(model.tower, tmp_path, GIB) as counts, model.counted():
        found = [model.epoch(pictures, orders[0])]
        computed, runs = counts.computed, model.runs
        found.append(model.epoch(pictures, orders[1]))
        assert (counts.computed, model.runs) == (computed, runs)  # the second epoch ran no tower
    assert counts.reason is None
    assert computed == counts.read  # as many tiles as images are cut into
    for one, other in zip(expected, found, strict=True):
        for losses, cached in zip(one, other, strict=True):
            torch.testing.assert_close(cached, losses, atol=1e-4 * float(losses.abs().max()), rtol=1e-4)
    again = Tiny(tiny(name))  # another run
    with cached_tower(again.tower, tmp_path, GIB) as counts:
        again.epoch(pictures, orders[1])
    assert counts.read >= counts.computed > 0  # only the pass that finds out what is read
    assert again.tower.forward.__func__ is type(again.tower).forward


def test_other_weights_share_nothing(tiny_llava: Path, pictures: list[Image.Image], tmp_path: Path) -> None:
    order = list(range(IMAGES))
    for change in (0.0, 1e-3):
        model = Tiny(tiny_llava)
        with torch.no_grad():
            next(model.tower.parameters()).flatten()[0] += change
        with cached_tower(model.tower, tmp_path, GIB) as counts:
            model.epoch(pictures, order)
        assert (counts.computed, counts.read) == (IMAGES, 0)
    assert len(list(tmp_path.iterdir())) == 2


def test_only_what_is_read_is_stored(tiny_llava: Path, pictures: list[Image.Image], tmp_path: Path) -> None:
    """LLaVA reads one hidden state of its tower: (1, 1 + patches, width) in float32 for each image."""
    model = Tiny(tiny_llava)
    with cached_tower(model.tower, tmp_path, GIB):
        model.epoch(pictures, list(range(IMAGES)))
        model.epoch(pictures, [0, 1])
    config = model.model.config.vision_config
    row = (1 + (config.image_size // config.patch_size) ** 2) * config.hidden_size * 4
    (data,) = tmp_path.rglob("*.bin")
    assert IMAGES * row <= data.stat().st_size < IMAGES * (row + 200)


def test_evaluation_and_trained_towers_are_left_alone(
    tiny_llava: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = Tiny(tiny_llava)
    with cached_tower(model.tower, tmp_path, GIB) as counts, torch.no_grad():
        model.tower(torch.zeros(1, 3, 32, 32))
    assert (counts.computed, counts.read) == (0, 0)
    next(model.tower.parameters()).requires_grad_(True)
    assert not can_be_cached(model.tower)
    next(model.tower.parameters()).requires_grad_(False)
    model.tower.config.attention_dropout = 0.1
    assert not can_be_cached(model.tower)


def test_a_tower_whose_rows_are_not_images_runs_as_ever(tmp_path: Path) -> None:
    tower = torch.nn.Linear(3, 3).requires_grad_(False)
    mixed = torch.nn.Linear(3, 3)
    tower.forward = lambda values: values.mean(0)  # one output for all images
    with cached_tower(tower, tmp_path, GIB) as counts:
        for _ in range(2):
            mixed(tower(torch.ones(2, 3))).sum().backward()
    assert counts.reason == "a tensor of shape (3,) for 2 images"
    assert "run for every batch" in describe(counts, "the feature cache")


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"0": torch.full((1, 100), value)}


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_store_is_shared_and_survives(tmp_path: Path) -> None:
    one, other = FeatureStore(tmp_path / "a", GIB), FeatureStore(tmp_path / "a", GIB)
    one.put(key(1), tensors(1))
    other.put(key(2), tensors(2))
    for store in (one, other, FeatureStore(tmp_path / "a", GIB)):
        for number in (1, 2):
            found = store.get(key(number))
            assert found is not None and torch.equal(found["0"], tensors(number)["0"])
        assert store.get(key(3)) is None


@pytest.mark.parametrize("damage", ["cut index", "cut data", "other bytes"])
def test_what_is_damaged_is_not_found(tmp_path: Path, damage: str) -> None:
    store = FeatureStore(tmp_path / "a", GIB)
    for number in range(3):
        store.put(key(number), tensors(number))
    store.close()
    (data,), (index,) = (list((tmp_path / "a").glob(f"*.{end}")) for end in ("bin", "idx"))
    if damage == "cut index":
        index.write_bytes(index.read_bytes()[:-1])
    elif damage == "cut data":
        data.write_bytes(data.read_bytes()[:-1])
    else:
        data.write_bytes(data.read_bytes()[:-1] + b"\xff")
    store = FeatureStore(tmp_path / "a", GIB)
    assert [store.get(key(number)) is not None for number in range(3)] == [True, True, False]
    store.put(key(2), tensors(2))
    assert store.get(key(2)) is not None


def test_a_store_is_bounded(tmp_path: Path) -> None:
    old, kept = FeatureStore(tmp_path / "old", GIB), FeatureStore(tmp_path / "kept", GIB)
    for number in range(4):
        old.put(key(number), tensors(number))
        kept.put(key(number), tensors(number))
    os.utime(tmp_path / "old", (0, 0))
    each = len(safetensors.torch.save(tensors(0))) + 36  # a record of the index has 16 + 8 + 8 + 4 bytes
    store = FeatureStore(tmp_path / "new", 12 * each)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "new", "old"]
    for number in range(10):
        store.put(key(number), tensors(number))
    held = sum(store.get(key(number)) is not None for number in range(10))
    assert held == 4  # what others have counts
    FeatureStore(tmp_path / "newer", 11 * each)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "new", "newer"]


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("train", ["projector", {"llm": {"lora": {"rank": 2}}}])
def test_a_run_with_the_cache_is_a_run_without(
    recipe_file: Callable[..., str], train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 images in 6 steps of 8: two epochs."""
    losses = {}
    for setting in ("off", "auto", "auto again"):
        cache = {"features": setting.split()[0], "folder": str(tmp_path / "features")}
        output = finetune(read(recipe_file(train=train, cache=cache, output=str(tmp_path / setting)))).parent
        log = (output / "emt_train.jsonl").read_text().splitlines()
        losses[setting] = [line.split('"learning_rate"')[0] for line in log]
        said = capsys.readouterr().err
        expected = {"off": "", "auto": "24 images computed, 24 read", "auto again": "8 images computed, 40 read"}
        assert expected[setting] in said and ("feature cache" in said) == (setting != "off")
    for lines in zip(*losses.values(), strict=True):
        one, *others = (json.loads(line.rstrip(", ") + "}")["loss"] for line in lines)
        assert others == pytest.approx([one] * 2, rel=1e-5)


class _Both(torch.nn.Module):
    """A frozen tower with two outputs, of which a model may read either."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3).requires_grad_(False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(pixels), self.layer(pixels) ** 2


def test_models_that_read_other_outputs_find_their_own(tmp_path: Path) -> None:
    tower, pixels = _Both(), torch.randn(4, 3)
    expected = tower(pixels)
    reader = torch.nn.Linear(3, 3)
    for number in (0, 1):
        with cached_tower(tower, tmp_path, GIB):
            for _ in range(2):
                found = tower(pixels)[number]
                torch.testing.assert_close(found, expected[number])
                reader(found).sum().backward()
