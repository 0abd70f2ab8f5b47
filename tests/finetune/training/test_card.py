"""The model card of a run, and what is said where the hub cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.training.card import write_card
from finetune.training.run import finetune

pytestmark = pytest.mark.usefixtures("data_dir")


def test_a_card_says_what_was_trained_and_what_was_lost(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe = read(recipe_file(train="projector"))
    last = finetune(recipe)
    card = ModelCard.load(last / "README.md")
    assert card.data.pipeline_tag == "image-text-to-text"
    assert "fine-tuned on mnist: projector, at a learning rate of 0.001" in card.text
    assert "What it kept" not in card.text  # nothing was evaluated
    lines = [{"step": 0, "accuracy": {"a": 0.5, "b": 0.25}}, {"step": 6, "accuracy": {"a": 0.375, "b": 0.75}}]
    with (last.parent / "emt_train.jsonl").open("a") as log:
        log.writelines(json.dumps(line) + "\n" for line in lines)
    card = ModelCard.load(write_card(recipe))
    assert "| a | 50.0 % | 37.5 % | -12.5 |\n| b | 25.0 % | 75.0 % | +50.0 |" in card.text


def test_a_card_is_of_the_checkpoint_that_is_kept(recipe_file: Callable[..., str]) -> None:
    """With save.keep: best, which need not be the newest."""
    recipe = read(recipe_file(train="projector", save={"every": 3}))
    last = finetune(recipe)
    with (last.parent / "emt_train.jsonl").open("a") as log:
        log.writelines(json.dumps({"step": step, "accuracy": {"a": step / 8}}) + "\n" for step in (0, 3, 6))
    link = last.parent / "last"
    link.unlink()
    link.symlink_to("checkpoint-000003")
    card = ModelCard.load(write_card(recipe))
    assert "| a | 0.0 % | 37.5 % | +37.5 |" in card.text


def test_the_hub_is_out_of_reach(recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    recipe = read(recipe_file(train="projector", save={"push": "me/mine"}, steps=1))
    with pytest.raises(UserError, match=r"save.push: me/mine cannot be uploaded .* upload it with: hf upload me/mine"):
        finetune(recipe)
    assert (Path(recipe.output) / "last" / "README.md").is_file()
