"""The parts of a model that are run or looked at: without its wrappers, without its vision tower, or that alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from emt_core.errors import UserError

MERGERS = ("merger", "projector", "connector", "resampler")
"""Names of a projector inside a vision tower or a language model."""


def is_merger(name: str) -> bool:
    """Whether a weight, by its name within a vision tower or a language model, is of a projector inside it."""
    return any(key in name.split(".")[0] for key in MERGERS)


def base_model(model: Any) -> Any:
    """Return the model inside a PEFT wrapper, its adapter in place; any other model as it is.

    Adapters that change the prompt instead of the weights need the wrapper: those stay wrapped.
    """
    config = getattr(model, "active_peft_config", None)
    return model if config is None or config.is_prompt_learning else model.get_base_model()


def part_for(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the model, or its text model if there are no images and the whole model requires one."""
    images = inspect.signature(model.forward).parameters.get("pixel_values")
    insists = images is not None and images.default is inspect.Parameter.empty
    return model.language_model if insists and "pixel_values" not in inputs else model


def is_encoder_decoder(model: Any) -> bool:
    """Whether the text model has an encoder and a decoder, like T5."""
    return bool(getattr(model.config.get_text_config(), "is_encoder_decoder", False))


def moved(inputs: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return model inputs on the model's device, images in its dtype."""
    import torch

    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor)
    }


def vision_tower(model: Any) -> Any:
    """Return the module that turns images into features.

    Raises:
        UserError: the model has none.
    """
    tower = model.get_encoder(modality="image")
    if tower is model or tower is None:
        raise UserError(f"model: no vision tower found in {type(model).__name__}; expected an image-text-to-text model")
    return tower
