"""Which encoder an MLLM was built on, and its very tower in that encoder's place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from emt_core.errors import UserError, one_line
from emt_tasks.models.loading import folder_or_name


@dataclass(frozen=True, slots=True)
class Built:
    """An encoder with a text tower, and its tower: type, width, layers, image and patch size."""

    name: str
    kind: str
    width: int
    layers: int
    image: int
    patch: int


ENCODERS = (
    Built("openai/clip-vit-large-patch14-336", "clip_vision_model", 1024, 24, 336, 14),
    Built("openai/clip-vit-large-patch14", "clip_vision_model", 1024, 24, 224, 14),
    Built("openai/clip-vit-base-patch16", "clip_vision_model", 768, 12, 224, 16),
    Built("openai/clip-vit-base-patch32", "clip_vision_model", 768, 12, 224, 32),
    Built("google/siglip-so400m-patch14-384", "siglip_vision_model", 1152, 27, 384, 14),
    Built("google/siglip2-so400m-patch14-384", "siglip_vision_model", 1152, 27, 384, 14),
    Built("google/siglip-so400m-patch14-224", "siglip_vision_model", 1152, 27, 224, 14),
    Built("google/siglip2-so400m-patch14-224", "siglip_vision_model", 1152, 27, 224, 14),
    Built("google/siglip-base-patch16-224", "siglip_vision_model", 768, 12, 224, 16),
    Built("google/siglip2-base-patch16-224", "siglip_vision_model", 768, 12, 224, 16),
)
"""Encoders that MLLMs are built on: LLaVA and LLaVA-NeXT on the first, Video-LLaVA on the second, LLaVA-OneVision and
PaliGemma on SigLIP so400m. Of two with equal sizes, the one that the tower's weights come from is taken."""

OWN_NAMES = {
    "instructblip_vision_model": "EVA01-g-14/laion400m_s11b_b41k",
    "blip_2_vision_model": "EVA01-g-14/laion400m_s11b_b41k",
}
"""Towers of which another library has the encoder, with other names of weights: EVA-CLIP's ViT-g/14, for InstructBLIP
(EMT, table 2). That encoder's own weights are used."""

_UNREAD = re.compile(r"^(head\.|post_layernorm\.)|layers\.(\d+)\.")
"""What an MLLM that reads an earlier layer may lack: the pooling and the last layer; the encoder's own are kept."""

DERIVED = 0.5
"""The relative distance of two towers' weights up to which one was trained from the other."""


def encoders_of(checkpoint: str) -> list[str]:
    """Return the encoders, with a text tower, that an MLLM's checkpoint may have been built on, by its tower's sizes.

    Raises:
        UserError: its tower is none that we know, such as one trained with the model (Qwen2-VL); says what to do.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder_or_name(checkpoint))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"pretrained=auto:{checkpoint}: no configuration ({one_line(error)})") from error
    found = encoders_by(getattr(config, "vision_config", None))
    if not found:
        kind = getattr(getattr(config, "vision_config", None), "model_type", "none")
        raise UserError(
            f"pretrained=auto:{checkpoint}: its tower ({kind}) belongs to no encoder with a text tower that we "
            "know; name the encoder, such as ViT-L-14/openai, or a CLIP or SigLIP folder"
        )
    return found


def encoders_by(tower: Any) -> list[str]:
    """Return the encoders whose tower has the sizes of a vision configuration."""
    kind = getattr(tower, "model_type", None)
    if kind in OWN_NAMES:
        return [OWN_NAMES[kind]]
    names = ("hidden_size", "image_size", "patch_size", "num_hidden_layers")
    width, image, patch, layers = (getattr(tower, name, None) for name in names)
    return [
        one.name
        for one in ENCODERS
        if (one.kind, one.width, one.image, one.patch) == (kind, width, image, patch)
        and layers in (one.layers, one.layers - 1)
    ]


def transplant(tower: Any, into: Any) -> None:
    """Copy a tower's weights over those of the encoder that it was trained from.

    Raises:
        ValueError: they are not the same architecture, or too far apart.
    """
    given = {_plain(name): weights for name, weights in tower.state_dict().items()}
    own = {_plain(name): (name, weights) for name, weights in into.state_dict().items()}
    last = max((int(found[2]) for name in own if (found := _UNREAD.search(name)) and found[2]), default=-1)
    apart, size = 0.0, 0.0
    for name, (_, weights) in own.items():
        if name not in given:
            found = _UNREAD.search(name)
            if found is None or (found[2] and int(found[2]) != last):
                raise ValueError(f"the checkpoint's tower does not fit: it has no {name}")
        elif given[name].shape != weights.shape:
            shapes = f"{tuple(given[name].shape)}, expected {tuple(weights.shape)}"
            raise ValueError(f"the checkpoint's tower does not fit: {name} is {shapes}")
        elif weights.is_floating_point():
            apart += float((given[name].float() - weights.float()).square().sum())
            size += float(weights.float().square().sum())
    if apart > DERIVED**2 * size:
        raise ValueError("the checkpoint's tower does not fit: it was not trained from this encoder")
    into.load_state_dict({full: given.get(name, weights) for name, (full, weights) in own.items()})


def _plain(name: str) -> str:
    """A weight's name within the tower, however the tower is wrapped."""
    return name.removeprefix("vision_model.")
