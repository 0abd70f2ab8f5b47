"""Encoders of both libraries, prompt ensembles, and the tower inside an MLLM's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as FAMILIES

from emt_core.errors import UserError
from emt_tasks.models import encoders, towers
from emt_tasks.models.clip import EmtCLIP, read_templates
from emt_tasks.tasks import fingerprint
from tests.support import tiny_checkpoints

CPU = torch.device("cpu")
NAMES = ["cat", "dog", "ship"]
IMAGES = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)) for seed in range(5)]
TEXT = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 2, "num_hidden_layers": 2}


def vision_of_llava() -> dict:
    settings = tiny_checkpoints.vision_settings()
    return {name: value for name, value in settings.items() if name != "model_type"}


def build(kind: str, folder: Path, seed: int = 0) -> Path:
    """A tiny CLIP or SigLIP whose tower has the sizes of the tiny LLaVA's."""
    torch.manual_seed(seed)
    words = tiny_checkpoints.tokenizer([])
    vision, text = vision_of_llava(), TEXT | {"vocab_size": len(words), "max_position_embeddings": 64}
    text |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    size = vision["image_size"]
    if kind == "clip":
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=16))
        images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
        processor = CLIPProcessor(images, words)
    else:
        model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        processor = SiglipProcessor(SiglipImageProcessor(size={"height": size, "width": size}), words)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_folder_of_transformers_answers_as_its_own_forward_pass(kind, tmp_path):
    folder = build(kind, tmp_path / kind)
    encoder = encoders.load(str(folder), CPU)
    labels = encoder.embed_labels(NAMES, ["a photo of a {label}."])
    with torch.no_grad():
        ours = encoder.scale * encoder.embed_images(encoder.prepare(IMAGES)) @ labels.T
        texts = [f"a photo of a {name}." for name in NAMES]
        padding = {"padding": "max_length", "max_length": 64} if kind == "siglip" else {"padding": True}
        words = encoder._processor.tokenizer(texts, **padding, return_tensors="pt")
        theirs = encoder.model(pixel_values=encoder.prepare(IMAGES), **words).logits_per_image
        theirs = theirs - getattr(encoder.model, "logit_bias", torch.zeros(()))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_an_ensemble_is_the_mean_of_unit_vectors(tmp_path):
    encoder = encoders.load(str(build("clip", tmp_path / "clip")), CPU)
    with torch.no_grad():
        one, other = (encoder.embed_labels(NAMES, [template]) for template in ("a {label}", "the {label} here"))
        both = encoder.embed_labels(NAMES, ["a {label}", "the {label} here"])
    torch.testing.assert_close(both, torch.nn.functional.normalize((one + other) / 2, dim=-1))


def test_templates_of_open_clip_and_of_a_file(tmp_path):
    assert len(read_templates("openai")) == 80 and len(read_templates("simple")) == 7
    assert all(template.count("{label}") == 1 for template in read_templates("openai"))
    (tmp_path / "own.txt").write_text("a {label}\n\nmy {label}\n")
    assert read_templates(str(tmp_path / "own.txt")) == ["a {label}", "my {label}"]
    (tmp_path / "bad.txt").write_text("a {label}\na {name}\n")
    (tmp_path / "open.txt").write_text("a {label}}\n")
    for name, reason in (
        ("bad.txt", "found 'a {name}'"),
        ("open.txt", "found 'a {label}}'"),
        ("nowhere.txt", "expected openai, simple, or a file"),
    ):
        with pytest.raises(UserError, match=reason):
            read_templates(str(tmp_path / name))


@pytest.fixture
def llava_on_clip(tmp_path):
    """A LLaVA whose tower is that of a CLIP, both on disk."""
    clip = build("clip", tmp_path / "clip")
    folder = tiny_checkpoints.build("llava", tmp_path / "llava")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    tower = CLIPModel.from_pretrained(clip).vision_model.state_dict()
    own = model.model.vision_tower.state_dict()
    model.model.vision_tower.load_state_dict({name: tower[name.removeprefix("vision_model.")] for name in own})
    model.save_pretrained(folder)
    return clip, folder, model


def test_the_very_tower_takes_the_encoder_s_place(llava_on_clip, tmp_path):
    clip, folder, model = llava_on_clip
    plain = encoders.load(str(clip), CPU)
    same = encoders.load(str(clip), CPU, tower=str(folder))
    pixels = plain.prepare(IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(same.embed_images(pixels), plain.embed_images(pixels))
        for weights in model.model.vision_tower.parameters():
            weights.add_(0.01 * torch.randn(weights.shape))
        model.save_pretrained(folder)
        tuned = encoders.load(str(clip), CPU, tower=str(folder))
        assert (tuned.embed_images(pixels) - plain.embed_images(pixels)).abs().max() > 1e-3


def test_auto_finds_it_by_sizes_and_refuses_another_one_s(llava_on_clip, tmp_path, monkeypatch):
    clip, folder, _ = llava_on_clip
    tower = AutoConfig.from_pretrained(folder).vision_config
    sizes = (tower.hidden_size, tower.num_hidden_layers, tower.image_size, tower.patch_size)
    stranger = build("clip", tmp_path / "stranger", seed=7)
    known = [towers.Built(str(name), "clip_vision_model", *sizes) for name in (stranger, clip)]
    monkeypatch.setattr(towers, "ENCODERS", known)
    found = encoders.load(f"auto:{folder}", CPU)
    assert found.model.name_or_path == str(clip)
    monkeypatch.setattr(towers, "ENCODERS", known[:1])
    with pytest.raises(UserError, match="it was not trained from this encoder"):
        encoders.load(f"auto:{folder}", CPU)


def test_a_tower_that_does_not_fit_is_named(tmp_path):
    siglip = build("siglip", tmp_path / "siglip")
    with pytest.raises(UserError, match="the checkpoint's tower does not fit"):
        encoders.load(str(siglip), CPU, tower=str(tiny_checkpoints.build("llava", tmp_path / "llava")))


def test_missing_weights_are_refused(tmp_path):
    """Transformers would fill them with random numbers, and the encoder would answer at chance."""
    folder = build("clip", tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("text_model")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="weights are missing, the first text_model"):
        encoders.load(str(folder), CPU)


def test_open_clip_takes_no_tower():
    with pytest.raises(UserError, match="only CLIP and SigLIP of transformers can take a tower"):
        encoders.load("ViT-B-32/openai", CPU, tower="anything")


KNOWN = {
    "llava": "openai/clip-vit-large-patch14-336",
    "llava_next": "openai/clip-vit-large-patch14-336",
    "vipllava": "openai/clip-vit-large-patch14-336",
    "video_llava": "openai/clip-vit-large-patch14",
    "llava_onevision": "google/siglip-so400m-patch14-384",
    "paligemma": "google/siglip-so400m-patch14-224",
    "instructblip": "EVA01-g-14/laion400m_s11b_b41k",
    "blip-2": "EVA01-g-14/laion400m_s11b_b41k",
}


def test_the_families_of_the_papers_are_known():
    for family, encoder in KNOWN.items():
        assert towers.encoders_by(CONFIG_MAPPING[family]().vision_config)[0] == encoder


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "fast_vlm", "mllama", "idefics3", "internvl"])
def test_towers_without_a_text_tower_are_refused(family, tmp_path):
    assert family in FAMILIES
    CONFIG_MAPPING[family]().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="belongs to no encoder with a text tower that we know; name the encoder"):
        towers.encoders_of(str(tmp_path))


def test_the_model_says_what_it_was_asked_for(tmp_path):
    folder = build("siglip", tmp_path / "siglip")
    lm = EmtCLIP(pretrained=str(folder), templates="simple", device="cpu", batch_size=2)
    assert lm._encoder.model.config.model_type == "siglip" and len(lm._templates) == 7
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="transformers cannot load it"):
        EmtCLIP(pretrained=str(tmp_path / "empty"), device="cpu")


def test_other_weights_behind_a_prefix_are_other_answers(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    before = fingerprint.key("emt_clip", f"pretrained=ViT-B-32/{file}")
    folder = build("clip", tmp_path / "clip")
    auto = fingerprint.key("emt_clip", f"pretrained=auto:{folder}")
    file.write_bytes(b"two, longer")
    (folder / "config.json").write_text("{}")
    assert fingerprint.key("emt_clip", f"pretrained=ViT-B-32/{file}") != before
    assert fingerprint.key("emt_clip", f"pretrained=auto:{folder}") != auto
