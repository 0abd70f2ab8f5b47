"""Copies of the demo's small model that lost what it knew of shapes for a known cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_tasks.demo import tiny
from emt_tasks.models.vlm import EmtVLM

PROMPT = "What type of object is in this photo?"
STEPS = 150


def overfit_the_answers_prefix(folder: Path) -> Path:
    """Train the head's row of one token until every answer begins with it, as after training on one form of answer."""
    model, processor = _base()
    token = processor.tokenizer.convert_tokens_to_ids("y")
    inputs = _inputs(model, processor)
    head = model.get_output_embeddings().weight
    row = head.detach()[token].clone().requires_grad_()
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1]
    optimiser = torch.optim.Adam([row], 0.02)
    others = states @ head.detach().T
    for _ in range(STEPS):
        logits = torch.cat([others[:, :token], (states @ row)[:, None], others[:, token + 1 :]], 1)
        loss = torch.nn.functional.cross_entropy(logits, torch.full((len(states),), token))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        head[token] = row
    return _save(model, processor, folder)


def scramble_the_projector(folder: Path, seed: int = 0) -> Path:
    """Draw the projector's weights anew, each matrix at its own scale: what it reads still passes, in another code."""
    model, processor = _base()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.model.multi_modal_projector.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * weights.std())
    return _save(model, processor, folder)


def train_the_tower_away(folder: Path) -> Path:
    """Train the tower to give every image the same features, until it does."""
    model, processor = _base()
    tower = model.model.vision_tower
    pixels = _inputs(model, processor)["pixel_values"]
    optimiser = torch.optim.AdamW(tower.parameters(), 0.01, weight_decay=20.0)
    for _ in range(STEPS):
        features = tower(pixels).last_hidden_state.flatten(1)
        loss = (features - features.mean(0)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _save(model, processor, folder)


def _base() -> tuple[Any, Any]:
    model = AutoModelForImageTextToText.from_pretrained(tiny.PATH, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(tiny.PATH)


def _inputs(model: Any, processor: Any, count: int = 128) -> Any:
    """Return what the model takes for some of the demo's shapes."""
    from datasets import load_dataset

    from emt_tasks.datasets import catalog

    rows = load_dataset(**catalog.get("demo_shapes").load_arguments("train"), split="train").select(range(count))
    text = EmtVLM.from_model(model, processor).render(PROMPT)
    images = [[row["image"].convert("RGB")] for row in rows]
    return processor(text=[text] * count, images=images, padding=True, return_tensors="pt")


def _save(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
