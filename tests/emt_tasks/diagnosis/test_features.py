"""Features at the three places, on one small checkpoint of each family."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from PIL import Image

from emt_tasks.diagnosis.features import PLACES, UnevenError, extract, tower_digest
from emt_tasks.models.documents import Request
from emt_tasks.models.parts import moved
from emt_tasks.models.vlm import EmtVLM
from tests.support import tiny_checkpoints

SEEDS = (0, 1, 2)
WITHOUT_IMAGE_POSITIONS = {"mllama"}
"""Images are attended to, and have no places in the prompt."""


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8))


def prepared(lm: EmtVLM, seeds):
    requests = [Request("What is it?", {}, lambda image: [image], n, "task", "test") for n in range(len(seeds))]
    lm.task_dict = {"task": {"test": [noise(seed) for seed in seeds]}}
    (batch,) = lm.prepare(requests, "left", list(range(len(seeds))))
    return batch


@pytest.mark.parametrize("family", sorted(tiny_checkpoints.ARCHITECTURES))
def test_each_family_shows_each_place(family, tmp_path):
    lm = EmtVLM(pretrained=str(tiny_checkpoints.build(family, tmp_path / family)), device="cpu")
    together = {}
    with lm.inference() as model:
        alone = [extract(model, moved(prepared(lm, [seed]).inputs, model), 1) for seed in SEEDS]
        with contextlib.suppress(UnevenError):
            together = extract(model, moved(prepared(lm, SEEDS).inputs, model), len(SEEDS))
    expected = [place for place in PLACES if not (place == "projector" and family in WITHOUT_IMAGE_POSITIONS)]
    for found in alone:
        assert list(found) == expected
        assert all(vectors.shape == (1, vectors.shape[-1]) for vectors in found.values())
        assert all(vectors.dtype == torch.float32 for vectors in found.values())
    for place in expected:
        rows = torch.cat([found[place] for found in alone])
        assert len(rows.unique(dim=0)) == len(SEEDS), place  # each depends on the image
        if together:
            torch.testing.assert_close(together[place], rows, atol=1e-4, rtol=1e-3)


def test_a_tower_s_digest_is_the_same_in_every_precision(tiny_llava):
    """A frozen tower is stored as the base has it, or in float32."""
    half = EmtVLM(pretrained=str(tiny_llava), device="cpu").model.half()
    before = tower_digest(half)
    assert tower_digest(half.float()) == before


def test_a_projector_inside_the_tower_is_not_the_tower(tmp_path):
    model = EmtVLM(pretrained=str(tiny_checkpoints.build("qwen2_5_vl", tmp_path / "qwen")), device="cpu").model
    before = tower_digest(model)
    weights = dict(model.get_encoder(modality="image").named_parameters())
    (merger, *_), (other, *_) = ([name for name in weights if ("merger" in name) == inside] for inside in (True, False))
    with torch.no_grad():
        weights[merger].add_(1.0)
        assert tower_digest(model) == before
        weights[other].add_(1.0)
    assert tower_digest(model) != before


def test_equal_towers_have_equal_digests(tiny_llava):
    first, second = (EmtVLM(pretrained=str(tiny_llava), device="cpu").model for _ in range(2))
    assert tower_digest(first) == tower_digest(second)
    with torch.no_grad():
        second.get_output_embeddings().weight[0, 0] += 1
        assert tower_digest(first) == tower_digest(second)
        next(iter(second.get_encoder(modality="image").parameters())).flatten()[0] += 1
    assert tower_digest(first) != tower_digest(second)
