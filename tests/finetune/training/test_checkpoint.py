"""Checkpoints: whole or not at all, loadable by plain transformers and peft, merged as they were unmerged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from finetune.model.adapters import merged_state, whole_modules
from finetune.model.building import load_model, load_processor, make_trainable
from finetune.model.merging import interpolate, merge
from finetune.recipes.files import read
from finetune.training.checkpoint import save_checkpoint, stored_dtype
from finetune.training.storing import Storage

# peft reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ADAPTER = {"rank": 4, "alpha": 8}


def lora(**more: Any) -> dict[str, Any]:
    """Adapters on two parts, and one trained in full."""
    return {"llm": {"lora": ADAPTER | more}, "vision": {"lora": ADAPTER | more}, "projector": {}}


class Trained:
    """A tiny model with adapters that do something."""

    def __init__(self, file: str) -> None:
        self.recipe = read(file)
        base, self.dtype = load_model(self.recipe, torch.device("cpu"))
        self.processor = load_processor(self.recipe)
        self.model: Any = make_trainable(base, self.recipe)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, weights in self.model.named_parameters():
                if weights.requires_grad:
                    weights.add_(torch.randn_like(weights) * (0.3 if "lora_B" in name else 0.05))

    def logits(self, model: Any = None) -> torch.Tensor:
        inputs = self.processor(
            text=["USER: <image>\nWhat is this? ASSISTANT:"], images=[Image.new("RGB", (32, 32), "red")],
            return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            found: torch.Tensor = (model or self.model).eval()(**inputs).logits
        return found


@pytest.fixture(params=[{}, {"rslora": True}, {"dora": True}], ids=["LoRA", "rsLoRA", "DoRA"])
def trained(recipe_file: Callable[..., str], request: pytest.FixtureRequest) -> Trained:
    return Trained(recipe_file(train=lora(**request.param)))


def test_an_adapter_loads_with_peft_and_with_our_model(trained: Trained, tmp_path: Path) -> None:
    from peft import PeftModel

    from emt_tasks.models.adapters import load_adapter

    folder = tmp_path / "adapter"
    save_checkpoint(folder, trained.model, trained.processor)
    assert (folder / "adapter_model.safetensors").is_file()
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))
    expected = trained.logits()
    for load in (PeftModel.from_pretrained, load_adapter):
        base = AutoModelForImageTextToText.from_pretrained(trained.recipe.model, dtype=torch.float32)
        assert not torch.allclose(trained.logits(base), expected, atol=1e-2)  # the adapter matters
        torch.testing.assert_close(trained.logits(load(base, str(folder))), expected)


def test_merged_answers_as_unmerged(trained: Trained, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    save_checkpoint(tmp_path / "adapter", trained.model, trained.processor)
    merge(str(tmp_path / "adapter"), tmp_path / "merged")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    AutoProcessor.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(trained.logits(merged), trained.logits(), atol=1e-5, rtol=1e-4)
    merged_state(trained.model)  # leaves the model as it is
    assert all(torch.equal(value, before[name]) for name, value in trained.model.state_dict().items())


def test_a_half_precision_checkpoint_stays_one(
    recipe_file: Callable[..., str], tiny_llava: Path, tmp_path: Path
) -> None:
    half = AutoModelForImageTextToText.from_pretrained(tiny_llava, dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    AutoProcessor.from_pretrained(tiny_llava).save_pretrained(tmp_path / "half")
    recipe = read(recipe_file(model=str(tmp_path / "half"), train="projector"))
    model, dtype = load_model(recipe, torch.device("cpu"))
    assert dtype == torch.float16
    save_checkpoint(tmp_path / "out", make_trainable(model, recipe), load_processor(recipe), storage=Storage((), dtype))
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype="auto")
    assert stored_dtype(str(tmp_path / "out")) == again.dtype == torch.float16
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in half.state_dict().items())


def test_interpolation_by_hand() -> None:
    # a quarter of the base: 0.25 · 4 + 0.75 · 8 = 7; what is equal stays to the bit, also in half precision
    base = {"w": torch.tensor([4.0]), "frozen": torch.tensor([0.1], dtype=torch.float16)}
    mixed = interpolate(base, {"w": torch.tensor([8.0]), "frozen": base["frozen"].clone()}, 0.25)
    assert mixed["w"].item() == 7.0
    assert torch.equal(mixed["frozen"], base["frozen"])
    with pytest.raises(UserError, match="only one of them has frozen"):
        interpolate(base, {"w": base["w"]}, 0.5)
    with pytest.raises(UserError, match=r"w has shape \(1,\) there and \(2,\) here"):
        interpolate(base, {**base, "w": torch.zeros(2)}, 0.5)


def test_wise_ft_of_a_full_checkpoint(recipe_file: Callable[..., str], tiny_llava: Path, tmp_path: Path) -> None:
    trained = Trained(recipe_file(train="llm"))
    folder = tmp_path / "full"
    save_checkpoint(folder, trained.model, trained.processor, notes={"emt_recipe.yaml": trained.recipe.to_yaml()})
    merge(str(folder), tmp_path / "half", with_base=0.5)  # the base comes from the recipe
    base, tuned, half = (
        AutoModelForImageTextToText.from_pretrained(path).state_dict()
        for path in (tiny_llava, folder, tmp_path / "half")
    )
    for name, value in half.items():
        torch.testing.assert_close(value, (base[name] + tuned[name]) / 2)
    for name in ("model.multi_modal_projector.linear_1.weight",):
        assert torch.equal(half[name], base[name])
    assert (tmp_path / "half" / "emt_recipe.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "has nothing to merge; give --with-base"),
        ({"with_base": 1.5}, "1.5 is not a share"),
        ({"with_base": 0.5}, "--base: .* does not say which model"),
    ],
)
def test_merge_says_what_is_wrong(tiny_llava: Path, tmp_path: Path, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        merge(str(tiny_llava), tmp_path / "out", **arguments)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    with pytest.raises(UserError, match=r"--output: .*kept is not empty"):
        merge(str(tiny_llava), tmp_path / "kept", with_base=0.5)


def test_whole_modules_are_the_outermost() -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
                                 "b": torch.nn.Linear(2, 2)})  # fmt: skip
    assert whole_modules(model, ["a.0.weight", "a.0.bias", "a.1.weight", "a.1.bias"]) == (["a"], [])
    assert whole_modules(model, ["a.0.weight", "a.0.bias", "b.weight"]) == (["a.0"], ["b.weight"])
