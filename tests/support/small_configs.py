"""Any family's configuration made so small that a model of it takes no time to build, if the family allows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

WORDS = 160
_MOST_WEIGHTS = 10**8

_WIDTHS = dict.fromkeys(("hidden_size", "d_model", "embed_dim", "out_hidden_size"), 256)
_INNER = dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff"), 48)
_LAYERS = dict.fromkeys(
    ("num_hidden_layers", "encoder_layers", "decoder_layers", "depth", "n_layers", "num_layers"), 2
)  # fmt: skip
_HEADS = dict.fromkeys(
    ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads", "num_heads", "num_key_value_heads"), 2
)
_EXPERTS = dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4)
_SIZES = {
    "vocab_size": WORDS, "head_dim": 128, "d_kv": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    **_WIDTHS, **_INNER, **_LAYERS, **_HEADS, **_EXPERTS,
}  # fmt: skip
"""Heads of 128 are what the sections of multimodal rotary positions add up to."""


def small_models() -> Iterator[tuple[str, Any]]:
    """Yield a small random model of each family of image-text-to-text models that can be built so small."""
    for family in sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES):
        try:
            config = small_config(family)
            with torch.device("meta"):
                model = AutoModelForImageTextToText.from_config(config)
            if sum(weights.numel() for weights in model.parameters()) <= _MOST_WEIGHTS:
                yield family, AutoModelForImageTextToText.from_config(config).eval()
        except Exception:  # noqa: BLE001 - its default configuration, or one so small, gives no model
            continue


def small_config(family: str) -> Any:
    """Return a family's configuration with every known size made small; raises what the family raises."""
    config = CONFIG_MAPPING[family]()
    for one in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        if one is not None:
            _shrink(one)
    return config


def _shrink(config: Any) -> None:
    for name, size in _SIZES.items():
        if type(getattr(config, name, None)) is int:
            with contextlib.suppress(AttributeError, NotImplementedError, ValueError):
                setattr(config, name, size)
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list):  # two layers, of two kinds if there are two
        config.layer_types = [kinds[0], next((kind for kind in kinds if kind != kinds[0]), kinds[0])]
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if isinstance(getattr(config, name, None), int) and getattr(config, name) >= WORDS:
            setattr(config, name, 2)
