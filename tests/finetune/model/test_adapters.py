"""LoRA on experts that a model fuses into one parameter: trained, merged, stored and loaded like any other layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from emt_core.errors import UserError
from emt_tasks.models.adapters import load_adapter
from finetune.model.adapters import adapted_weights, add_lora, merged_state, trained_base_names
from finetune.model.building import make_trainable, trained_by_part
from finetune.model.parts import find_parts
from finetune.recipes.schema import Recipe

TEXT = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
QWEN_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
QWEN_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
ARIA_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_vl_moe": {
        "text_config": TEXT | HEADS | QWEN_EXPERTS,
        "vision_config": QWEN_VISION | {"patch_size": 4, "deepstack_visual_indexes": [0]},
    },
    # stores its experts the other way round: (experts, in, out)
    "aria": {
        "text_config": TEXT | HEADS | {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
        "vision_config": ARIA_VISION | {"image_size": 16, "patch_size": 8},
        "projector_patch_to_query_dict": {4: 2},
    },
}
TOKENS = torch.arange(3, 13).unsqueeze(0)


def build(family: str, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**CONFIGS[family])
    model = AutoModelForImageTextToText.from_config(config).to(dtype).eval()
    for weights in model.parameters():  # some experts start uninitialised
        if weights.dim() == 3:
            torch.nn.init.normal_(weights, std=0.2)
    return model


def recipe(part: str = "llm", **lora: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": "any",
            "output": "any",
            "train": {part: {"lora": {"rank": 2, **lora}}},
            "mixture": {"sources": [{"data": "mnist"}]},
            "steps": 1,
            "optimiser": {"learning_rate": 1e-3},
            "batch": {"size": 1, "micro": 1},
        }
    )


def step(model: Any) -> None:
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=2.0)
    for _ in range(3):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.fixture(params=sorted(CONFIGS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_fused_expert_gets_an_adapter(family: str) -> None:
    chosen = recipe()
    model = make_trainable(build(family), chosen)
    experts = {
        f"model.language_model.layers.{i}.mlp.experts.{w}" for i in (0, 1) for w in ("gate_up_proj", "down_proj")
    }
    assert experts <= set(adapted_weights(model))
    assert trained_base_names(model) == set(adapted_weights(model))
    names = trained_by_part(model, chosen)["llm"]
    assert len(names) == 2 * len(adapted_weights(model))  # an A and a B each
    sizes = {name: weights.numel() for name, weights in names.items() if ".mlp.experts." in name}
    # rank 2 for each of 4 experts: A and B of gate_up and down in two layers
    width = 24
    assert sum(sizes.values()) == 2 * 2 * 4 * ((16 + 2 * width) + (width + 16))


def test_only_gate_and_up_can_be_experts() -> None:
    adapted = adapted_weights(make_trainable(build("qwen3_vl_moe"), recipe("llm_gate_up")))
    assert {name.rpartition(".")[2] for name in adapted} == {"gate_up_proj"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_trained_is_merged_and_stored(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model: Any = make_trainable(build(family, dtype), recipe()).eval()
    before = {name: weights.clone() for name, weights in build(family, dtype).state_dict().items()}
    step(model)
    merged = merged_state(model)
    assert set(merged) == set(before)
    moved = {name for name, weights in merged.items() if not torch.equal(weights.float(), before[name].float())}
    assert moved == set(adapted_weights(model))
    assert {merged[name].dtype for name in moved} == {torch.float32}
    with torch.no_grad():
        live = model(input_ids=TOKENS).logits
        model.save_pretrained(tmp_path)
        loaded = load_adapter(build(family, dtype), str(tmp_path)).eval()
        torch.testing.assert_close(loaded(input_ids=TOKENS).logits, live)
        plain = build(family)
        assert (plain(input_ids=TOKENS).logits - live).abs().max() > 0.05
        plain.load_state_dict(merged)
        exact = torch.float32 == dtype
        torch.testing.assert_close(
            plain(input_ids=TOKENS).logits, live.float(), atol=1e-5 if exact else 0.1, rtol=1e-4 if exact else 0.1
        )


@pytest.mark.parametrize("setting", [{"dropout": 0.1}, {"dora": True}])
def test_what_experts_cannot_have_is_refused(setting: dict[str, Any]) -> None:
    model = build("qwen3_vl_moe")
    with pytest.raises(UserError, match=rf"train\.llm\.lora\.{next(iter(setting))}: not for experts that share"):
        add_lora(model, recipe(**setting), find_parts(model))
    add_lora(model, recipe("llm_attention", **setting), find_parts(model))
