"""The parts of a multimodal LLM, found by structure: which parameters, linear layers and fused experts each has.

| part | meaning |
|---|---|
| `vision` | all that sees: image and video towers, without a projector inside them (Qwen2.5-VL's merger) |
| `audio` | all that hears |
| `llm` | the language model with its embeddings and its head |
| `projector` | everything between the two: projector, connector, Q-Former, query tokens, image newline |
| `llm_attention` | the attention layers of the language model, linear attention among them (arXiv 2510.08564) |
| `llm_gate_up` | the gate and up projections of its feed-forward layers (arXiv 2510.08564) |
| `full` | everything |
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from emt_core.errors import UserError, listed
from emt_tasks.models.parts import is_merger, vision_tower
from finetune.recipes.schema import PART_NAMES, PartName, Recipe

_SEEN, _HEARD = ("pixel_values", "pixel_values_videos"), ("input_features", "input_values")
"""First inputs of towers that see, and of those that hear."""

_ATTENTION = re.compile(r"(Attention|DeltaNet)$")
"""Classes of attention layers; gated delta networks are linear attention (arXiv 2412.06464)."""

_EXPERTS = re.compile(r"Experts$")
"""Classes that hold all experts of a layer."""

_GATE_AND_UP = ("gate_proj", "up_proj", "gate_up_proj", "wi_0", "wi_1")
"""The last two are T5's."""


@dataclass(frozen=True)
class Parts:
    """The parts of one model: for each, the names of its parameters, of its linear layers and of its fused experts.

    Experts are fused where one parameter holds a layer's matrices of all experts, (experts, rows, columns).
    Parts that the model lacks are missing here.
    """

    parameters: dict[str, list[str]]
    linears: dict[str, list[str]]
    experts: dict[str, list[str]]

    def require(self, part: PartName) -> list[str]:
        """Return the names of a part's parameters.

        Raises:
            UserError: the model has no such part.
        """
        if part not in self.parameters:
            raise UserError(f"train: this model has no part {part!r}; it has {listed(self.parameters)}")
        return self.parameters[part]


def find_parts(model: nn.Module) -> Parts:
    """Sort a model's parameters and linear layers into parts; each is in vision, audio, projector or llm.

    Raises:
        UserError: the model has no vision tower or no language model.
    """
    encoder = _name(model, vision_tower(model))
    llm = _outermost_without(model, _name(model, _language_model(model)), encoder)
    towers = _towers(model, encoder)
    head = _name(model, model.get_output_embeddings())  # type: ignore[operator]
    attention = [name for name, module in model.named_modules() if _is_attention(name, module, llm)]

    def part_of(name: str) -> str:
        tower = next((tower for tower in towers if _inside(name, tower)), None)
        if tower is not None:  # before the language model, which may hold it (Idefics)
            return "projector" if _is_merger(name, tower) else towers[tower]
        if _inside(name, llm) and _is_merger(name, llm):
            return "projector"
        # An encoder that holds a tower reads text too (T5Gemma 2).
        reads = any(_inside(name, place) for place in (llm, head, encoder))
        return "llm" if reads else "projector"

    def also_in(name: str) -> Iterator[str]:
        yield part_of(name)
        yield "full"
        if part_of(name) == "llm" and any(_inside(name, layer) for layer in attention):
            yield "llm_attention"
        if part_of(name) == "llm" and _inside(name, llm) and any(key in name.split(".") for key in _GATE_AND_UP):
            yield "llm_gate_up"

    parameters: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        for part in also_in(name):
            parameters.setdefault(part, []).append(name)
    linears: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != head:
            for part in also_in(name):
                linears.setdefault(part, []).append(name)
    experts: dict[str, list[str]] = {}
    for name in _fused_experts(model):
        for part in also_in(name):
            experts.setdefault(part, []).append(name)
    return Parts({part: parameters[part] for part in PART_NAMES if part in parameters}, linears, experts)


def freeze_all_but(model: nn.Module, recipe: Recipe, parts: Parts) -> None:
    """Enable gradients only for the parts that the recipe trains in full.

    Raises:
        UserError: the recipe names a part that the model does not have.
    """
    trained = {name for part, settings in recipe.parts.items() for name in parts.require(part) if not settings.lora}
    for name, weights in model.named_parameters():
        weights.requires_grad_(name in trained)


def _fused_experts(model: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters that hold one matrix for each expert."""
    for name, module in model.named_modules():
        if _EXPERTS.search(type(module).__name__):
            for own, weights in module.named_parameters(recurse=False):
                if weights.dim() == 3:
                    yield f"{name}.{own}"


def _towers(model: nn.Module, encoder: str) -> dict[str, str]:
    """Return the outermost modules that see or hear, with their part; `encoder` is the model's own for images."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        if not name or not isinstance(module, PreTrainedModel) or any(_inside(name, tower) for tower in found):
            continue
        first = next(iter(inspect.signature(module.forward).parameters), "")
        if first in _SEEN + _HEARD:
            found[name] = "vision" if first in _SEEN else "audio"
    if not any(_inside(tower, encoder) for tower in found) and encoder not in found:
        found[encoder] = "vision"
    return found


def _language_model(model: Any) -> Any:
    decoder = model.get_decoder()
    if decoder is model or decoder is None:
        raise UserError(
            f"model: no language model found in {type(model).__name__}; expected an image-text-to-text model"
        )
    return decoder


def _outermost_without(model: nn.Module, inner: str, other: str) -> str:
    """Return the outermost module around one that excludes the other: for a decoder, with its encoder."""
    while "." in inner and not _inside(other, inner.rpartition(".")[0]):
        inner = inner.rpartition(".")[0]
    return inner


def _name(model: nn.Module, module: Any) -> str:
    return next((name for name, found in model.named_modules() if found is module), "")


def _inside(name: str, outer: str) -> bool:
    return bool(outer) and (name == outer or name.startswith(f"{outer}."))


def _is_merger(name: str, vision: str) -> bool:
    return is_merger(name.removeprefix(f"{vision}."))


def _is_attention(name: str, module: Any, llm: str) -> bool:
    """Whether a module of the language model is an attention layer: by its class, as models name it differently."""
    # An adapter wraps a projection.
    has_projections = any(isinstance(getattr(child, "base_layer", child), nn.Linear) for child in module.children())
    return _inside(name, llm) and _ATTENTION.search(type(module).__name__) is not None and has_projections
