"""LoRA as a way to train a part (arXiv 2106.09685), through peft."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from emt_core.errors import UserError
from finetune.model.parts import Parts
from finetune.recipes.schema import Recipe

_WRAPPERS = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)|\.modules_to_save\.default|\.original_module(?=\.)")
_LORA = re.compile(r"\.lora_(A|B|magnitude_vector)\.default(?=\.)")


def add_lora(model: nn.Module, recipe: Recipe, parts: Parts) -> nn.Module:
    """Return the model with adapters on the linear layers of the parts that are trained by LoRA.

    Fully trained parts are kept whole inside the adapter (peft's `modules_to_save`), or trained in place if the
    checkpoints are to be merged.

    Raises:
        UserError: a part has no linear layer, or cannot be kept inside an adapter.
    """
    (settings,) = {part.lora for part in recipe.parts.values() if part.lora}
    targets = [name for part, chosen in recipe.parts.items() if chosen.lora for name in _linears(parts, part)]
    in_full = [name for part, chosen in recipe.parts.items() if not chosen.lora for name in parts.require(part)]
    kept, loose = ([], in_full) if recipe.save.merged else whole_modules(model, in_full)
    if loose and not recipe.save.merged:
        raise UserError(f"save: {loose[0]} is also trained and does not fit into an adapter; set save.merged: true")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        target_modules=targets,
        modules_to_save=kept or None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a property that transformers has renamed
        adapted: nn.Module = get_peft_model(model, config)
    for name, weights in adapted.named_parameters():
        if base_name(name) in loose and "lora_" not in name:
            weights.requires_grad_(True)
    return adapted


def whole_modules(model: nn.Module, names: list[str]) -> tuple[list[str], list[str]]:
    """Return the outermost modules with only these parameters, and the parameters in none of them."""
    wanted, modules = set(names), []
    for path, module in model.named_modules():
        inside = {f"{path}.{name}" for name, _ in module.named_parameters()}
        callable_itself = "forward" in type(module).__dict__
        if path and inside and inside <= wanted and callable_itself:
            modules.append(path)
            wanted -= inside
    return modules, [name for name in names if name in wanted]


def base_name(name: str) -> str:
    """Return an adapted model's parameter name in the base model; for LoRA's, that of its layer's weight."""
    return _WRAPPERS.sub("", _LORA.sub("", name))


def merged_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights of the base model with the adapter added in, under the base model's names; on the CPU.

    The adapted model is not changed. Weights that an adapter changes are float32, the others as they are.
    """
    deltas = {
        base_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and module.lora_A
    }
    merged = {}
    for name, weights in model.state_dict().items():
        if "lora_" in name or ".original_module." in name:
            continue
        plain = base_name(name)
        layer = deltas.get(plain.removesuffix(".weight"))
        if layer is not None and plain.endswith(".weight"):
            weights = _with_delta(weights, layer)
        merged[plain] = weights.detach().cpu()
    return merged


def _with_delta(weights: torch.Tensor, layer: Any) -> torch.Tensor:
    """Return a linear layer's weights with its adapter added in, in float32.

    With DoRA each row of the sum is scaled to the length that was trained (arXiv 2402.09353, equation 5).
    """
    delta: torch.Tensor = layer.get_delta_weight("default")
    merged = weights.float() + delta.float().to(weights.device)
    if "default" not in layer.lora_magnitude_vector:
        return merged
    lengths: torch.Tensor = layer.lora_magnitude_vector["default"].weight.float().to(weights.device)
    scaled: torch.Tensor = merged * (lengths / merged.norm(dim=1)).unsqueeze(1)
    return scaled


def _linears(parts: Parts, part: Any) -> list[str]:
    parts.require(part)
    if not parts.linears.get(part):
        raise UserError(f"train.{part}.lora: this part has no linear layer to adapt; train it in full")
    return parts.linears[part]
