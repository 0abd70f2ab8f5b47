"""Merging tensor by tensor gives what merging whole models gives, and needs no more than a shard of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from finetune.model import merging
from finetune.model.building import make_trainable
from finetune.model.merging import merge
from finetune.recipes.files import read
from finetune.training.checkpoint import save_checkpoint
from tests.finetune.model.test_adapters import build as build_experts
from tests.finetune.model.test_adapters import recipe as experts_recipe

LORA = {"rank": 4}
WAYS: dict[str, dict[str, Any]] = {
    "lora": {"llm": {"lora": LORA}},
    "dora": {"llm": {"lora": LORA | {"dora": True}}},
    "rslora": {"llm_attention": {"lora": LORA | {"rslora": True}}},
    "whole": {"llm": {"lora": LORA}, "projector": {}},
}


def moved(model: Any) -> Any:
    """The model with its trained weights changed, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn(weights.shape, generator=generator) * 0.1)
    return model


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def both_ways(adapter: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Merge with and without streaming; the results are equal, but for the last bit if it is random."""
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_through_models", lambda *_, **__: pytest.fail("not streamed"))
        streamed = merge(str(adapter), folder / "streamed", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge_adapter", lambda *_: False)
        whole = merge(str(adapter), folder / "whole", **settings)
    one, other = weights(streamed), weights(whole)
    assert one.keys() == other.keys()
    last_bit = 2**-7 if settings.get("dtype") == "bf16" else 0
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        torch.testing.assert_close(value, other[name], rtol=last_bit, atol=0, msg=name)
    loaded, expected = (AutoModelForImageTextToText.from_pretrained(path) for path in (streamed, whole))
    assert loaded.dtype == expected.dtype
    assert {file.name for file in streamed.iterdir()} - {"model.safetensors.index.json"} >= {"config.json"}


@pytest.mark.parametrize("settings", [{}, {"with_base": 0.3}, {"dtype": "base"}, {"dtype": "bf16"}], ids=str)
@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_is_merged_as_through_models(
    way: str,
    settings: dict[str, Any],
    recipe_file: Callable[..., str],
    tiny_llava: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_llava, dtype=torch.bfloat16)
    processor = AutoProcessor.from_pretrained(tiny_llava)
    base.save_pretrained(tmp_path / "base", max_shard_size="40kB")
    processor.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "optimizer.pt").write_bytes(b"large")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 2
    recipe = read(recipe_file(model=str(tmp_path / "base"), train=WAYS[way]))
    save_checkpoint(tmp_path / "adapter", moved(make_trainable(base, recipe)), processor)
    both_ways(tmp_path / "adapter", tmp_path, monkeypatch, **settings)
    assert not (tmp_path / "streamed" / "optimizer.pt").exists()
    AutoProcessor.from_pretrained(tmp_path / "streamed")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_fused_experts_are_merged_as_through_models(tmp_path: Path, tiny_llava: Path) -> None:
    """They are stored one by one, so that a model is needed: the merge says the same as the live model."""
    base = build_experts("qwen3_vl_moe")
    base.save_pretrained(tmp_path / "base")
    processor = AutoProcessor.from_pretrained(tiny_llava)
    processor.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    model = moved(make_trainable(base, experts_recipe()))
    save_checkpoint(tmp_path / "adapter", model, processor)
    merge(str(tmp_path / "adapter"), tmp_path / "merged", base=str(tmp_path / "base"))
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    tokens = torch.arange(3, 13).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(
            merged(input_ids=tokens).logits, model.eval()(input_ids=tokens).logits, atol=1e-4, rtol=1e-3
        )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_other_adapters_are_refused(tiny_llava: Path, tmp_path: Path) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_llava)
    get_peft_model(base, IA3Config(target_modules=["k_proj"], feedforward_modules=[])).save_pretrained(tmp_path / "ia3")
    with pytest.raises(UserError, match=r"ia3: only LoRA can be merged, found an adapter of kind IA3"):
        merge(str(tmp_path / "ia3"), tmp_path / "out", base=str(tiny_llava))
    assert not (tmp_path / "out").exists()
