"""No answer sees its own later tokens: neither in training nor where labels are scored by likelihood."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_tasks.models.likelihood import Scorer, answer_type, append
from finetune.data.collate import IGNORED
from finetune.data.conversations import TrainingExample, Turn
from finetune.model.building import make_collator
from tests.support import tiny_checkpoints
from tests.support.small_configs import small_models

DECODERS = sorted(set(tiny_checkpoints.ARCHITECTURES) - {"instructblip_t5"})
"""All but the encoder-decoder, whose answers are in its decoder alone."""


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_later_token_moves_no_earlier_logits(architecture: str, tiny: Callable[[str], Path]) -> None:
    folder = tiny(architecture)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    picture = Image.effect_noise((32, 32), 80).convert("RGB")
    example = TrainingExample((Turn("What is it?", "a frog on a truck"),), lambda: [picture], 1, "here")
    batch = make_collator(model, processor)([example], [[picture]], [0])
    learned = (batch.labels[0] != IGNORED).nonzero().flatten()
    assert len(learned) > 3
    changed = {name: value.clone() for name, value in batch.inputs.items()}
    last = int(learned[-1])  # predicts the token behind it, so that this one is the last that is read
    changed["input_ids"][0, last] = (changed["input_ids"][0, last] + 1) % 100 + 20
    assert not torch.equal(changed["input_ids"], batch.inputs["input_ids"])
    with torch.no_grad():
        one, other = (model(**inputs).logits[0] for inputs in (batch.inputs, changed))
    assert (one[last] - other[last]).abs().max() > 1e-4
    torch.testing.assert_close(one[:last], other[:last], atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_label_is_scored_token_by_token(architecture: str, tiny: Callable[[str], Path]) -> None:
    """The likelihood of two tokens is that of the first, and of the second after the first."""
    folder = tiny(architecture)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    picture = Image.effect_noise((32, 32), 80).convert("RGB")
    example = TrainingExample((Turn("What is it?", "a"),), lambda: [picture], 1, "here")
    collator = make_collator(model, processor)
    prompt = collator.chat(example.turns, 1).prompt
    inputs = collator._prompts([prompt], [[picture]], "here")
    scorer = Scorer(model, 4, processor.tokenizer.pad_token_id or 0)
    with torch.no_grad():
        first, both = scorer.score(inputs, [[(30,), (30, 40)]])[0]
        after = append(inputs, [(30,)], 0, answer_type(model))
        second = -model(**after).logits[0, -1].log_softmax(-1)[40].item()
    assert both.nll == pytest.approx(first.nll + second, abs=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_family_sees_later_tokens_of_its_answer() -> None:
    """In text, each family that can be built small; its answer's tokens have the type that ours get."""
    read = 0
    for family, model in small_models():
        try:
            one, other = _logits(model, 40), _logits(model, 50)
        except Exception:  # noqa: BLE001 - a family that takes no text alone
            continue
        assert (one[-1] - other[-1]).abs().max() > 1e-4, family
        torch.testing.assert_close(one[:-1], other[:-1], atol=1e-5, rtol=0, msg=lambda said, of=family: f"{of}: {said}")
        read += 1
    assert read >= 50


def _logits(model: Any, last: int) -> torch.Tensor:
    """The logits of a question of six tokens and an answer of six, `(12, vocabulary)`."""
    inputs = {
        "input_ids": torch.tensor([[*range(20, 31), last]]),
        "attention_mask": torch.ones(1, 12, dtype=torch.long),
    }
    if "token_type_ids" in inspect.signature(model.forward).parameters:
        inputs["token_type_ids"] = torch.tensor([[0] * 6 + [answer_type(model)] * 6])
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs).logits
    return logits[0]
