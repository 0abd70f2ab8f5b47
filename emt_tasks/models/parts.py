"""Which part of a model to run: out of its wrappers, and without its eyes where there is nothing to see."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def base_model(model: Any) -> Any:
    """Return the model inside a PEFT wrapper, its adapter in place; any other model as it is.

    Adapters that change the prompt instead of the weights live in the wrapper: those stay wrapped.
    """
    config = getattr(model, "active_peft_config", None)
    return model if config is None or config.is_prompt_learning else model.get_base_model()


def part_for(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the model, or its text model for inputs without images where the whole one insists on an image."""
    images = inspect.signature(model.forward).parameters.get("pixel_values")
    insists = images is not None and images.default is inspect.Parameter.empty
    return model.language_model if insists and "pixel_values" not in inputs else model


def is_encoder_decoder(model: Any) -> bool:
    """Whether the text model has an encoder and a decoder, as T5 has."""
    return bool(getattr(model.config.get_text_config(), "is_encoder_decoder", False))
