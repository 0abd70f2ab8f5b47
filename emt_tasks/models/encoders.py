"""Vision encoders with the text tower that they were trained with: open_clip's, and Hugging Face's CLIP and SigLIP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from emt_core.errors import UserError, one_line
from emt_tasks.models import loading, towers
from emt_tasks.models.parts import vision_tower

_TEXTS = 256
"""Phrases at a time."""

AUTO = "auto:"


class Encoder(ABC):
    """Images and phrases to vectors of unit length, whose scaled products are logits."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.scale = float(model.logit_scale.detach().exp())

    @abstractmethod
    def prepare(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return `(images, 3, height, width)` pixels."""

    @abstractmethod
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return `(images, dimensions)`."""

    @abstractmethod
    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Return `(texts, dimensions)`, of any length."""

    def embed_labels(self, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
        """Return `(labels, dimensions)`: of several phrases for a label, the mean of their unit vectors, made unit.

        As CLIP does it (Radford et al., arXiv 2103.00020, §3.1.4). `{label}` stands for the name in a template.
        """
        texts = [template.format(label=name) for name in names for template in templates]
        chunks = [self._embed_texts(texts[start : start + _TEXTS]) for start in range(0, len(texts), _TEXTS)]
        unit = torch.nn.functional.normalize(torch.cat(chunks).float(), dim=-1)
        return torch.nn.functional.normalize(unit.view(len(names), len(templates), -1).mean(1), dim=-1)


class OpenCLIP(Encoder):
    """An encoder of open_clip."""

    def __init__(self, name: str, weights: str | None, device: torch.device) -> None:
        import open_clip

        model, _, self._preprocess = open_clip.create_model_and_transforms(name, pretrained=weights, device=device)
        self._tokenizer = open_clip.get_tokenizer(name)
        super().__init__(model, device)

    def prepare(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Resize, crop and scale as the encoder's own preprocessing does."""
        return torch.stack([self._preprocess(image) for image in images])

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return open_clip's features, of unit length."""
        found: torch.Tensor = self.model.encode_image(pixels.to(self.device), normalize=True)
        return found

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        found: torch.Tensor = self.model.encode_text(self._tokenizer(texts).to(self.device))
        return found


class HuggingFace(Encoder):
    """An encoder of transformers that has `get_image_features` and `get_text_features`."""

    def __init__(self, name: str, device: torch.device, tower: str | None = None) -> None:
        from transformers import AutoModel, AutoProcessor

        model, info = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        if info["missing_keys"]:  # transformers silently fills them with random numbers
            raise ValueError(f"{len(info['missing_keys'])} weights are missing, the first {min(info['missing_keys'])}")
        missing = [
            call for call in ("get_image_features", "get_text_features", "logit_scale") if not hasattr(model, call)
        ]
        if missing:
            raise ValueError(f"{type(model).__name__} has no {missing[0]}")
        if tower:
            towers.transplant(_tower_of(tower), model.vision_model)
        self._processor = AutoProcessor.from_pretrained(name)
        # SigLIP was trained on texts of full length; CLIP ignores what follows the end.
        padding = "max_length" if "siglip" in model.config.model_type else True
        longest = model.config.text_config.max_position_embeddings
        self._texts = {"padding": padding, "truncation": True, "max_length": longest, "return_tensors": "pt"}
        super().__init__(model, device)

    def prepare(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Resize, crop and scale as the checkpoint's image processor does."""
        pixels: torch.Tensor = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        return pixels

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the pooled features, of unit length."""
        found = self.model.get_image_features(pixel_values=pixels.to(self.device))
        return torch.nn.functional.normalize(_pooled(found), dim=-1)

    def _embed_texts(self, texts: list[str]) -> torch.Tensor:
        tokens = self._processor.tokenizer(texts, **self._texts)
        return _pooled(self.model.get_text_features(**tokens.to(self.device)))


def load(pretrained: str, device: torch.device, tower: str | None = None) -> Encoder:
    """Return an encoder.

    Args:
        pretrained: `ARCHITECTURE/WEIGHTS` as open_clip lists them, where WEIGHTS may be a file; `local-dir:FOLDER` or
            `hf-hub:NAME` for open_clip; the folder or hub name of a CLIP or SigLIP of transformers; or
            `auto:CHECKPOINT`, the encoder that an MLLM was built on, with that checkpoint's very tower.
        device: where it runs.
        tower: an MLLM's checkpoint, whose tower replaces the encoder's own.

    Raises:
        UserError: there is no such encoder, or the tower does not fit it.
    """
    if pretrained.startswith(AUTO):
        return _built_on(pretrained.removeprefix(AUTO), device)
    try:
        if not _is_open_clips(pretrained):
            return HuggingFace(pretrained, device, tower)
        if tower:
            raise UserError(f"tower={tower}: only CLIP and SigLIP of transformers can take a tower, not {pretrained}")
        return OpenCLIP(*_name_and_weights(pretrained), device)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, ImportError) as error:
        by = "open_clip" if _is_open_clips(pretrained) else "transformers"
        raise UserError(f"pretrained={pretrained}: {by} cannot load it ({one_line(error)})") from error


def _built_on(checkpoint: str, device: torch.device) -> Encoder:
    """Return the first encoder that a checkpoint may have been built on and whose place its tower can take."""
    names = towers.encoders_of(checkpoint)
    refusals = []
    for name in names:
        try:
            return load(name, device, tower=None if name in towers.OWN_NAMES.values() else checkpoint)
        except UserError as error:
            refusals.append(str(error))
    raise UserError(f"pretrained={AUTO}{checkpoint}: {'; '.join(refusals)}")


def _is_open_clips(pretrained: str) -> bool:
    """Whether open_clip is to load an encoder: by its name, unless that is a folder or a name on the hub."""
    import open_clip

    if ":" in pretrained or "/" not in pretrained:
        return not Path(pretrained).is_dir()
    if Path(pretrained).is_dir():
        return False
    return pretrained.split("/")[0] in open_clip.list_models() or pretrained.split("/")[0].startswith(_ARCHITECTURES)


_ARCHITECTURES = ("ViT-", "RN", "convnext", "EVA", "coca_", "MobileCLIP", "xlm-", "roberta-")
"""How open_clip's names of architectures begin: a misspelt one is not looked for on the hub."""


def _name_and_weights(pretrained: str) -> tuple[str, str | None]:
    name, _, weights = (pretrained, "", "") if ":" in pretrained else pretrained.partition("/")
    if name.startswith("local-dir:") and not Path(name.removeprefix("local-dir:")).is_dir():
        raise UserError(f"pretrained={pretrained}: no such folder")
    if ":" not in pretrained and not weights:
        raise UserError(f"pretrained={pretrained}: no weights given; expected {name}/WEIGHTS, such as {name}/openai")
    return name, weights or None


def _tower_of(checkpoint: str) -> Any:
    """Return the vision tower of an MLLM's checkpoint."""
    device = torch.device("cpu")
    model = loading.load_model(
        loading.folder_or_name(checkpoint),
        revision="main",
        dtype="float32",
        attn_implementation=None,
        device=device,
        device_map=None,
        trust_remote_code=False,
    )
    return vision_tower(model)


def _pooled(output: Any) -> torch.Tensor:
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return found
