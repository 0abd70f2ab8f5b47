"""A model's features at three places between image and answer, one vector a document at each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch

from emt_core.errors import UserError
from emt_tasks.models.parts import is_encoder_decoder, is_merger, part_for, vision_tower

PLACES = ("tower", "projector", "answer")
"""The vision tower's output; what the language model reads in the places of the image; its last hidden state at the
position where the answer begins. The first two are means over positions."""

Vectors = dict[str, torch.Tensor]
"""Place: (documents, dimensions), float32, on the CPU. A place that a model does not have is missing."""


class UnevenError(Exception):
    """The tower's rows cannot be told apart by document; pass one document at a time."""


def extract(model: Any, inputs: Mapping[str, torch.Tensor], documents: int) -> Vectors:
    """Run prompts through a model and return their features.

    Args:
        model: in evaluation mode, without wrappers.
        inputs: what its processor made of `documents` prompts, padded on the left, on the model's device.
        documents: how many.

    Raises:
        UnevenError: the images of several documents have different numbers of crops.
    """
    part = part_for(model, inputs)
    arguments = dict(inputs) | {"use_cache": False}
    if is_encoder_decoder(model):
        start = model.config.get_text_config().decoder_start_token_id
        arguments["decoder_input_ids"] = torch.full((documents, 1), start or 0, device=inputs["input_ids"].device)
    with _tapped(model) as taps:
        part(**arguments)
    found: Vectors = {}
    if taps.tower:
        found["tower"] = _by_document(taps.tower, documents, inputs)
    read = _image_positions(model, inputs)
    if read is not None and taps.read is not None and taps.read.shape[:2] == read.shape:
        mask = read.to(taps.read.device)[..., None]
        found["projector"] = (taps.read.float() * mask).sum(1) / mask.sum(1)
    if taps.state is not None:
        found["answer"] = taps.state[:, -1]
    return {place: vectors.detach().float().cpu() for place, vectors in found.items()}


def tower_digest(model: Any) -> str:
    """Return a name for the weights of a model's vision tower, without a projector in it: equal towers see the same.

    In whatever precision they are stored: of two copies of one tower, one is often float32 and the other has 16 bits.

    Raises:
        UserError: some of the weights are on no device.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, weights in sorted(vision_tower(model).state_dict().items()):
        if is_merger(name):
            continue
        if weights.is_meta:
            raise UserError(
                f"the vision tower's {name} is offloaded, so towers cannot be compared; load it without offloading"
            )
        digest.update(f"{name}{tuple(weights.shape)}".encode())
        values = weights.detach().cpu()
        values = values.to(torch.bfloat16) if values.is_floating_point() else values
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class _Taps:
    """What the hooks have seen: each call of the tower, the language model's inputs, its last hidden state."""

    def __init__(self) -> None:
        self.tower: list[torch.Tensor] = []
        self.read: torch.Tensor | None = None
        self.state: torch.Tensor | None = None


@contextmanager
def _tapped(model: Any) -> Iterator[_Taps]:
    taps = _Taps()

    def see(_module: Any, _arguments: Any, output: Any) -> None:
        taps.tower.append(_first_tensor(output))

    def read(_module: Any, _arguments: Any, settings: Mapping[str, Any]) -> None:
        embeddings = settings.get("inputs_embeds")
        taps.read = embeddings if embeddings is not None else taps.read

    def write(_module: Any, _arguments: Any, output: Any) -> None:
        taps.state = _first_tensor(output)

    decoder = model.get_decoder()
    reader = model.language_model.get_encoder() if is_encoder_decoder(model) else decoder
    with ExitStack() as hooks:
        for handle in (
            vision_tower(model).register_forward_hook(see),
            reader.register_forward_pre_hook(read, with_kwargs=True),
            decoder.register_forward_hook(write),
        ):
            hooks.callback(handle.remove)
        yield taps


def _first_tensor(output: Any) -> torch.Tensor:
    """Return a module's features: its last hidden state where it has one."""
    found = getattr(output, "last_hidden_state", None)
    if found is None:
        found = output if isinstance(output, torch.Tensor) else output[0]
    return found


def _by_document(calls: list[torch.Tensor], documents: int, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return one vector for each document: the mean over the positions of all its crops."""
    rows = torch.cat([_over_positions(call) for call in calls])
    if len(rows) == documents:
        return rows
    grid = next((inputs[name] for name in ("image_grid_thw", "image_grid_hws") if name in inputs), None)
    patches = [] if grid is None else [prod(one) for one in grid.tolist()]
    if patches and len(patches) % documents == 0 and sum(patches) % len(rows) == 0:
        merged, images = sum(patches) // len(rows), len(patches) // documents  # a merger joins neighbouring patches
        sizes = [sum(patches[start : start + images]) // merged for start in range(0, len(patches), images)]
        return torch.stack([part.mean(0) for part in torch.split(rows, sizes)])
    if documents == 1:
        return rows.mean(0, keepdim=True)
    raise UnevenError


def _over_positions(features: torch.Tensor) -> torch.Tensor:
    """Return the mean over positions, (rows, channels), of maps (rows, channels, height, width) or of sequences.

    Sequences have their channels last, whatever is between (media, tiles, patches).
    """
    if features.dim() == 4:
        return features.float().flatten(2).mean(-1)
    return features.float().flatten(1, -2).mean(1) if features.dim() > 2 else features.float()


def _image_positions(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return where in each prompt its images are, (documents, positions); None where they are not in the prompt."""
    token = next(
        (found for name in ("image_token_id", "image_token_index") if (found := getattr(model.config, name, None))),
        None,
    )
    if token is None:
        return None
    found = inputs["input_ids"] == token
    return found if bool(found.any(1).all()) else None
