"""From a recipe to a model that is ready to train: loaded, frozen except for its parts, with its optimiser."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoConfig, AutoModelForImageTextToText

from emt_core.errors import UserError, one_line
from emt_tasks.models import loading
from emt_tasks.models.likelihood import answer_type
from emt_tasks.models.parts import is_encoder_decoder
from finetune.data.collate import TrainingCollator
from finetune.model.adapters import add_lora, base_name
from finetune.model.parts import Parts, find_parts, freeze_all_but
from finetune.recipes.schema import PartName, Recipe
from finetune.training.checkpoint import stored_dtype


def load_processor(recipe: Recipe) -> Any:
    """Return the processor of the recipe's model.

    Raises:
        UserError: there is none.
    """
    return loading.load_processor(
        loading.folder_or_name(recipe.model), revision=recipe.revision, trust_remote_code=False
    )


def load_model(recipe: Recipe, device: Any) -> tuple[nn.Module, torch.dtype | None]:
    """Return the recipe's model and the dtype of its checkpoint.

    With `precision: fp32` it is float32 throughout. With bf16, untrained parts keep the checkpoint's dtype.

    Raises:
        UserError: it cannot be loaded or trained.
    """
    path = loading.folder_or_name(recipe.model)
    model = loading.load_model(
        path,
        revision=recipe.revision,
        dtype="float32" if recipe.precision == "fp32" else "auto",
        attn_implementation=recipe.attn_implementation,
        device=device,
        device_map=None,
        trust_remote_code=False,
        quantization=_quantization(recipe) if recipe.quantization else None,
    )
    return model, stored_dtype(path, recipe.revision)


def _quantization(recipe: Recipe) -> Any:
    """Return how transformers quantizes the language model's linear layers; all others stay as they are."""
    from transformers import BitsAndBytesConfig

    _require_bitsandbytes("quantization")
    empty = empty_model(recipe)
    parts = find_parts(empty)
    llm = set(parts.linears["llm"])
    others = [name for name, module in empty.named_modules() if isinstance(module, nn.Linear) and name not in llm]
    dtype = torch.float32 if recipe.precision == "fp32" else torch.bfloat16
    if recipe.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=others)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=others,
    )


def _require_bitsandbytes(field: str) -> None:
    """Make sure that bitsandbytes is there.

    Raises:
        UserError: it is not; names the field that needs it.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{field}: bitsandbytes is not installed; run: pip install 'emt-eval[bitsandbytes]'")


def empty_model(recipe: Recipe) -> nn.Module:
    """Return the recipe's model without weights, for counting: only its config is read.

    Raises:
        UserError: there is no such model, or it is not an image-text-to-text model.
    """
    path = loading.folder_or_name(recipe.model)
    try:
        config = AutoConfig.from_pretrained(path, revision=recipe.revision)
        with torch.device("meta"):
            model: nn.Module = AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model: {recipe.model} cannot be loaded ({one_line(error)})") from error
    return model


def make_trainable(model: Any, recipe: Recipe) -> nn.Module:
    """Freeze everything that the recipe does not train, add adapters, and keep trained weights in float32.

    Raises:
        UserError: the recipe does not fit the model's parts.
    """
    parts = find_parts(model)
    model.get_output_embeddings()  # every architecture has a head; the loss needs it
    torch.manual_seed(recipe.seed)  # seeds the adapters' initial values
    if recipe.gradient_checkpointing:
        # transformers has renamed it: use the new name if it exists
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    freeze_all_but(model, recipe, parts)
    keep_statistics(model)
    if recipe.has_lora:
        model = add_lora(model, recipe, parts)
    for weights in model.parameters():
        if weights.requires_grad and weights.dtype != torch.float32:
            weights.data = weights.data.float()
    if recipe.compile:
        for layer in _layers(model.get_base_model() if recipe.has_lora else model):
            layer.compile(dynamic=True)
    return model  # type: ignore[no-any-return]


def keep_statistics(model: nn.Module) -> None:
    """Let batch normalisation use the statistics that it has learned, also while the model trains.

    Those of a batch would change frozen towers, and make a step depend on `batch.micro` and the number of processes.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]


def _layers(model: Any) -> list[nn.Module]:
    """Return the layers of the language model: its longest list of modules."""
    lists = [module for module in model.get_decoder().modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=()))


def trained_by_part(model: nn.Module, recipe: Recipe) -> dict[PartName, dict[str, Any]]:
    """Return the parameters that get gradients, by name, grouped by part of the recipe."""
    base = model.get_base_model() if recipe.has_lora else model  # type: ignore[operator]
    parts = find_base_parts(base)
    found: dict[PartName, dict[str, Any]] = {part: {} for part in recipe.parts}
    owners = {name: part for part in recipe.parts for name in parts.require(part)}
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            found[owners[base_name(name)]][name] = weights
    return found


def find_base_parts(model: nn.Module) -> Parts:
    """Find the parts of a model that may have adapters, by the names without them."""
    parts = find_parts(model)
    clean = {part: sorted({base_name(name) for name in names}) for part, names in parts.parameters.items()}
    return Parts(clean, parts.linears, parts.experts)


def make_optimiser(trained: dict[PartName, dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser, with each part's peak learning rate under `peak`; no weight decay for biases and norms."""
    chosen = recipe.optimiser
    groups = []
    for part, weights in trained.items():
        lora = recipe.parts[part].lora
        faster = lora.plus if lora else 1.0
        by_kind: dict[tuple[bool, float], list[Any]] = {}
        for name, weight in weights.items():
            by_kind.setdefault((weight.dim() > 1, faster if ".lora_B." in name else 1.0), []).append(weight)
        for (decays, times), group in sorted(by_kind.items(), key=lambda kind: (not kind[0][0], kind[0][1])):
            peak = times * recipe.learning_rate(part)
            decay = chosen.weight_decay if decays else 0.0
            groups.append({"params": group, "part": part, "peak": peak, "lr": peak, "weight_decay": decay})
    if chosen.name == "sgd":
        return torch.optim.SGD(groups, lr=chosen.learning_rate)
    if chosen.name == "adamw_8bit":
        _require_bitsandbytes("optimiser.name")
        from bitsandbytes.optim import AdamW8bit

        eight_bits: torch.optim.Optimizer = AdamW8bit(
            groups, lr=chosen.learning_rate, betas=chosen.betas, eps=chosen.epsilon
        )
        return eight_bits
    return torch.optim.AdamW(groups, lr=chosen.learning_rate, betas=chosen.betas, eps=chosen.epsilon, fused=True)


def make_collator(model: Any, processor: Any, max_tokens: int | None = None) -> TrainingCollator:
    """Return the collator for a model, which knows where its answers start and end."""
    text = model.config.get_text_config()
    two_sided = is_encoder_decoder(model)
    return TrainingCollator(
        processor,
        end_tokens(model, processor.tokenizer),
        [text.decoder_start_token_id] if two_sided else (),
        max_tokens,
        answer_type(model),
        None if two_sided else getattr(text, "max_position_embeddings", None),
    )


def end_tokens(model: Any, tokenizer: Any) -> Sequence[int]:
    """Return the tokens at which a model stops generating."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    return list(ends) if isinstance(ends, (list, tuple)) else [ends]
