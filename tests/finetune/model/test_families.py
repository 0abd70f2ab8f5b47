"""Parts in the families of image-text-to-text models that transformers has, without weights and with few layers."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from emt_core.errors import UserError
from finetune.model.parts import Parts, find_parts

LAYERS = 4


def empty(family: str) -> Any:
    """The family's model as its configuration has it by default, with few layers."""
    config = CONFIG_MAPPING[family]()
    for one in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        for name in ("num_hidden_layers", "depth", "encoder_layers"):
            if isinstance(getattr(one, name, None), int) and getattr(one, name) > LAYERS:
                with contextlib.suppress(AttributeError, NotImplementedError):
                    setattr(one, name, LAYERS)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def places(parts: Parts, part: str, depth: int) -> set[str]:
    return {".".join(name.split(".")[:depth]) for name in parts.parameters.get(part, [])}


def beyond_lora(model: Any, parts: Parts) -> int:
    """How many weights are in the language model's matrices that get no adapter, besides its embeddings."""
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    tables = {id(module.weight) for module in (*embeddings, model.get_output_embeddings()) if module is not None}
    reached = {f"{layer}.weight" for layer in parts.linears.get("llm", [])} | set(parts.experts.get("llm", []))
    return sum(
        weights.numel()
        for name, weights in model.named_parameters()
        if name in set(parts.parameters["llm"]) - reached and weights.dim() > 1 and id(weights) not in tables
    )


@pytest.mark.parametrize(
    ("family", "vision", "audio"),
    [
        ("qwen2_5_omni_thinker", {"model.visual"}, {"model.audio_tower"}),
        ("video_llava", {"model.image_tower", "model.video_tower"}, set()),
        ("deepseek_vl_hybrid", {"model.vision_model", "model.high_res_vision_model"}, set()),
        ("idefics", {"model.vision_model"}, set()),
        ("instructblip", {"vision_model.embeddings", "vision_model.encoder", "vision_model.post_layernorm"}, set()),
    ],
)
def test_every_tower_is_found(family: str, vision: set[str], audio: set[str]) -> None:
    parts = find_parts(empty(family))
    assert places(parts, "vision", 2) == vision
    assert places(parts, "audio", 2) == audio
    assert not [name for name in parts.parameters.get("projector", []) if "tower" in name or "vision_encoder" in name]


def test_the_text_encoder_beside_a_tower_is_the_language_models() -> None:
    parts = find_parts(empty("t5gemma2"))
    assert places(parts, "vision", 3) == {"model.encoder.vision_tower"}
    assert "model.encoder.text_model" in places(parts, "llm", 3)


@pytest.mark.parametrize("family", ["qwen3_5", "minicpmv4_6"])
def test_linear_attention_is_attention(family: str) -> None:
    model = empty(family)
    layers = {name.split(".layers.")[1].split(".")[0] for name in find_parts(model).parameters["llm_attention"]}
    assert len(layers) == LAYERS  # one in four has softmax attention


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_parts_of_every_family() -> None:
    """Each parameter of each family that can be built is in one part, and language models are no small share."""
    states: Counter[str] = Counter()
    for family in sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
        try:
            model = empty(family)
        except Exception:  # noqa: BLE001 - a default configuration that no model can be built from
            states["cannot be built"] += 1
            continue
        try:
            parts = find_parts(model)
        except UserError as error:
            assert "no vision tower found" in str(error), family
            states["no vision tower"] += 1
            continue
        sizes = {name: weights.numel() for name, weights in model.named_parameters()}
        shares = {part: sum(sizes[name] for name in names) for part, names in parts.parameters.items()}
        split = [name for part in ("vision", "audio", "projector", "llm") for name in parts.parameters.get(part, [])]
        assert sorted(split) == sorted(sizes), family
        assert shares["llm"] > 0.2 * shares["full"], family
        assert shares["vision"] > 0, family
        assert shares.get("projector", 0) < 0.4 * shares["full"], family
        assert beyond_lora(model, parts) < 0.05 * shares["llm"], family
        states["found"] += 1
    assert states["found"] >= 70, states
