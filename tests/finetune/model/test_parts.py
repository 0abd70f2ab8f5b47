"""Parts are found by structure in every architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from emt_core.errors import UserError
from finetune.model.building import empty_model, load_model, make_optimiser, make_trainable, trained_by_part
from finetune.model.parts import find_parts
from finetune.recipes.files import read
from finetune.recipes.schema import PartName
from tests.support import tiny_checkpoints

EMPTY = {"model": "", "train": "full"}
PROJECTORS = {
    "llava": {"model.multi_modal_projector"},
    "llava_onevision": {"model.image_newline", "model.multi_modal_projector"},
    "instructblip": {"qformer", "language_projection", "query_tokens"},
    "instructblip_t5": {"qformer", "language_projection", "query_tokens"},
    "qwen2_5_vl": {"model.visual.merger"},
    "idefics3": {"model.connector"},
    "gemma3": {"model.multi_modal_projector"},
    "paligemma": {"model.multi_modal_projector"},
    "mllama": {"model.multi_modal_projector"},
    "fast_vlm": {"model.multi_modal_projector"},
}


@pytest.fixture(params=sorted(tiny_checkpoints.ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_parameter_is_in_one_part(architecture: str, tiny: Callable[[str], Path], recipe_file) -> None:
    model = empty_model(read(recipe_file(model=str(tiny(architecture)))))
    parts = find_parts(model)
    names = [name for name, _ in model.named_parameters()]
    assert sorted(name for part in ("vision", "llm", "projector") for name in parts.parameters[part]) == sorted(names)
    assert "audio" not in parts.parameters
    assert sorted(parts.parameters["full"]) == sorted(names)
    between = parts.parameters["projector"]
    assert all(any(name.startswith(place) for place in PROJECTORS[architecture]) for name in between)
    assert all(any(name.startswith(place) for name in between) for place in PROJECTORS[architecture])


def test_parts_inside_the_language_model(architecture: str, tiny: Callable[[str], Path], recipe_file) -> None:
    parts = find_parts(empty_model(read(recipe_file(model=str(tiny(architecture))))))
    attention = {name.split(".")[-2] for name in parts.parameters["llm_attention"]}
    assert ({"q", "k", "v", "o"} if architecture == "instructblip_t5" else {"q_proj", "k_proj", "v_proj"}) < attention
    assert set(parts.parameters["llm_attention"]) < set(parts.parameters["llm"])
    # OPT's feed-forward layers, InstructBLIP's here, have no gate.
    gates = {name.split(".")[-2] for name in parts.parameters.get("llm_gate_up", [])}
    named = {"instructblip": set(), "instructblip_t5": {"wi_0", "wi_1"}}
    assert gates == named.get(architecture, {"gate_proj", "up_proj"})


def test_a_missing_part_lists_what_there_is(tiny: Callable[[str], Path], recipe_file) -> None:
    recipe = read(recipe_file(model=str(tiny("instructblip")), train="llm_gate_up"))
    with pytest.raises(UserError, match="no part 'llm_gate_up'; it has projector, llm, vision, llm_attention, full"):
        make_trainable(empty_model(recipe), recipe)


@pytest.mark.parametrize("part", ["projector", "llm", "vision", "llm_attention", "llm_gate_up", "full"])
def test_gradients_reach_one_part_only(part: PartName, recipe_file) -> None:
    recipe = read(recipe_file(train=part))
    model = make_trainable(empty_model(recipe), recipe)
    wanted = set(find_parts(model).parameters[part])
    assert {name for name, weights in model.named_parameters() if weights.requires_grad} == wanted
    assert set(trained_by_part(model, recipe)[part]) == wanted


def test_lora_belongs_to_its_part(tiny: Callable[[str], Path], recipe_file) -> None:
    settings = {"llm": {"lora": {"rank": 2}}, "projector": {"learning_rate": 0.5}}
    recipe = read(recipe_file(model=str(tiny("qwen2_5_vl")), train=settings))
    model = make_trainable(empty_model(recipe), recipe)
    trained = trained_by_part(model, recipe)
    assert all("lora_" in name and ".layers." in name for name in trained["llm"])
    # 2 layers of 7 linears, A and B each
    assert len(trained["llm"]) == 2 * 7 * 2
    assert all("visual.merger.modules_to_save" in name for name in trained["projector"])
    assert len(trained["projector"]) == 5
    # rank 2 on q, k, v, o, gate, up (dim 32; k, v give 16; gate, up 64) and down (64 to 32):
    # 2 · (64 + 48 + 48 + 64 + 96 + 96 + 96) = 1,024 a layer
    assert sum(weights.numel() for weights in trained["llm"].values()) == 2 * 1024


@pytest.mark.parametrize("part", ["llm_attention", "llm_gate_up"])
@pytest.mark.parametrize("architecture", ["llava", "qwen2_5_vl"])
def test_lora_on_a_part_of_the_language_model(
    part: PartName, architecture: str, tiny: Callable[[str], Path], recipe_file
) -> None:
    """Its adapters wrap the layers by which the part is found."""
    recipe = read(recipe_file(model=str(tiny(architecture)), train={part: {"lora": {"rank": 2}}}))
    linears = find_parts(empty_model(recipe)).linears[part]
    trained = trained_by_part(make_trainable(empty_model(recipe), recipe), recipe)
    assert len(trained[part]) == 2 * len(linears) > 0  # A and B for each layer
    assert all(".lora_" in name for name in trained[part])


def test_lora_plus_learns_b_faster_and_nothing_else(recipe_file) -> None:
    settings = {"llm": {"learning_rate": 0.1, "lora": {"rank": 2, "dora": True, "plus": 8.0}}}
    recipe = read(recipe_file(train=settings))
    trained = trained_by_part(make_trainable(empty_model(recipe), recipe), recipe)
    peaks = {
        id(weights): group["peak"]
        for group in make_optimiser(trained, recipe).param_groups
        for weights in group["params"]
    }
    assert len(peaks) == len(trained["llm"])
    kinds = {"lora_A": 0.1, "lora_B": 0.8, "lora_magnitude_vector": 0.1}
    for name, weights in trained["llm"].items():
        assert peaks[id(weights)] == pytest.approx(next(rate for kind, rate in kinds.items() if f".{kind}." in name))
    assert {kind for kind in kinds for name in trained["llm"] if f".{kind}." in name} == set(kinds)


def test_the_attention_that_is_asked_for_is_used(recipe_file) -> None:
    for name in ("eager", "sdpa"):
        model, _ = load_model(read(recipe_file(attn_implementation=name)), torch.device("cpu"))
        assert model.config.get_text_config()._attn_implementation == name
    with pytest.raises(UserError, match="attn_implementation"):
        load_model(read(recipe_file(attn_implementation="flash_attention_9")), torch.device("cpu"))


def test_adapters_refuse_what_they_cannot_hold(tiny: Callable[[str], Path], recipe_file) -> None:
    settings = {"llm": {"lora": {"rank": 2}}, "projector": {}}
    recipe = read(recipe_file(model=str(tiny("llava_onevision")), train=settings))
    with pytest.raises(UserError, match=r"model.image_newline is also trained .* save.merged: true"):
        make_trainable(empty_model(recipe), recipe)
    merged = read(recipe_file(model=str(tiny("llava_onevision")), train=settings, save={"merged": True}))
    trained = trained_by_part(make_trainable(empty_model(merged), merged), merged)
    assert any(name.endswith("image_newline") for name in trained["projector"])


def test_what_is_trained_is_held_in_float32(recipe_file) -> None:
    recipe = read(recipe_file(train="projector", precision="bf16"))
    model = make_trainable(empty_model(recipe).to(torch.bfloat16), recipe)
    for weights in model.parameters():
        assert weights.dtype == (torch.float32 if weights.requires_grad else torch.bfloat16)
