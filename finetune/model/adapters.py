"""LoRA as a way to train a part (arXiv 2106.09685), through peft."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import nn

from emt_core.errors import UserError
from finetune.model.parts import Parts
from finetune.recipes.schema import Lora, PartName, Recipe

_WRAPPERS = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)|\.modules_to_save\.default|\.original_module(?=\.)")
_LORA = re.compile(r"\.lora_(A|B|magnitude_vector)\.default(?=\.)")


def add_lora(model: nn.Module, recipe: Recipe, parts: Parts) -> nn.Module:
    """Return the model with adapters on the linear layers and fused experts of the parts that are trained by LoRA.

    Each expert of a fused parameter gets an adapter of the rank.

    Fully trained parts are kept whole inside the adapter (peft's `modules_to_save`), or trained in place if the
    checkpoints are to be merged.

    Raises:
        UserError: a part has no linear layer, cannot be kept inside an adapter, or has fused experts and settings that
            peft does not know for them.
    """
    (settings,) = {part.lora for part in recipe.parts.values() if part.lora}
    adapted_parts = [part for part, chosen in recipe.parts.items() if chosen.lora]
    targets = [name for part in adapted_parts for name in _linears(parts, part)]
    experts = [name for part in adapted_parts for name in _experts(parts, part, settings)]
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
        target_parameters=experts or None,
        modules_to_save=kept or None,
    )
    adapted = with_adapter(model, config)
    for name, weights in adapted.named_parameters():
        if base_name(name) in loose and "lora_" not in name:
            weights.requires_grad_(True)
    return adapted


def with_adapter(model: Any, config: PeftConfig, *, empty: bool = False) -> nn.Module:
    """Return a model with a new adapter; without weights of its own if `empty`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a property that transformers has renamed
        adapted: nn.Module = get_peft_model(model, config, low_cpu_mem_usage=empty)
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
    """Return an adapted model's parameter name in the base model; for LoRA's, that of its layer's weight.

    LoRA's own parameters on fused experts are the exception: see `adapted_weights`.
    """
    return _WRAPPERS.sub("", _LORA.sub("", name))


def adapted_weights(model: nn.Module) -> dict[str, LoraLayer]:
    """Return the layers with an adapter, by the base model's name of the weights that it changes."""
    return {
        base_name(f"{name}.{getattr(module, 'parameter_name', 'weight')}"): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and module.lora_A
    }


def trained_whole(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that are kept whole inside an adapter, under the base model's names."""
    return {base_name(name): weights for name, weights in model.state_dict().items() if ".modules_to_save." in name}


def trained_base_names(model: nn.Module) -> set[str]:
    """Return the base model's names of the weights that training changes: in place, or by an adapter."""
    in_place = {
        base_name(name) for name, weights in model.named_parameters() if weights.requires_grad and "lora_" not in name
    }
    return in_place | set(adapted_weights(model))


def merged_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights of the base model with the adapter added in, under the base model's names; on the CPU.

    The adapted model is not changed. Weights that an adapter changes are float32, the others as they are.
    """
    layers = adapted_weights(model)
    merged = {}
    for name, weights in model.state_dict().items():
        if "lora_" in name or ".original_module." in name:
            continue
        plain = base_name(name)
        if plain in layers:
            weights = with_delta(weights, layers[plain])
        merged[plain] = weights.detach().cpu()
    return merged


def without_adapters(model: Any) -> Any:
    """Return an empty model like the base of an adapted one, to save a merged state with.

    The base itself has adapters inside, and transformers looks into a model for what it writes.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    with torch.device("meta"):
        empty = type(base)(base.config)
    empty.generation_config = base.generation_config
    if (conversions := getattr(base, "_weight_conversions", None)) is not None:  # how it was read is how it is written
        empty._weight_conversions = conversions
    return empty


def with_delta(weights: torch.Tensor, layer: Any) -> torch.Tensor:
    """Return weights with their adapter added in, in float32.

    With DoRA each row of the sum is scaled to the length that was trained (arXiv 2402.09353, equation 5).
    """
    if isinstance(layer, ParamWrapper):
        return weights.float() + _experts_delta(layer).to(weights.device)
    delta: torch.Tensor = layer.get_delta_weight("default")
    merged = weights.float() + delta.float().to(weights.device)
    if "default" not in layer.lora_magnitude_vector:
        return merged
    lengths: torch.Tensor = layer.lora_magnitude_vector["default"].weight.float().to(weights.device)
    scaled: torch.Tensor = merged * (lengths / merged.norm(dim=1)).unsqueeze(1)
    return scaled


def _experts_delta(layer: ParamWrapper) -> torch.Tensor:
    """Return what an adapter adds to fused experts, (experts, out, in) or as they are stored, in float32.

    peft's own sum is rounded to the dtype of the base.
    """
    down, up = layer.lora_A["default"].weight.float(), layer.lora_B["default"].weight.float()
    down = down.reshape(layer.num_experts, -1, layer.in_features)  # (experts, rank, in)
    up = up.reshape(layer.out_features, -1, layer.num_experts)  # (out, rank, experts)
    is_transposed = getattr(layer.get_base_layer(), "is_transposed", False)
    delta = torch.einsum("ore,eri->eio" if is_transposed else "ore,eri->eoi", up, down)
    return torch.mul(delta, layer.scaling["default"])


def _experts(parts: Parts, part: PartName, settings: Lora) -> list[str]:
    experts = parts.experts.get(part, [])
    if experts and (settings.dropout or settings.dora):
        field = "dropout" if settings.dropout else "dora"
        raise UserError(
            f"train.{part}.lora.{field}: not for experts that share one parameter, such as {experts[0]}; remove it, "
            "or train llm_attention"
        )
    return experts


def _linears(parts: Parts, part: PartName) -> list[str]:
    parts.require(part)
    linears = parts.linears.get(part, [])
    if not linears and part not in parts.experts:
        raise UserError(f"train.{part}.lora: this part has no linear layer to adapt; train it in full")
    return linears
