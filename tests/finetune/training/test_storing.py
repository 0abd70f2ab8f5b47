"""What is saved is what was trained: no change of the weights is rounded away unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from finetune.model.merging import merge
from finetune.recipes.files import read
from finetune.training.checkpoint import LOG_FILE
from finetune.training.run import finetune
from finetune.training.saving import Saver
from finetune.training.storing import Storage, stochastic


@pytest.fixture(scope="module")
def bf16_base(tiny_llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in bfloat16, as published ones are."""
    folder = tmp_path_factory.mktemp("bf16")
    AutoModelForImageTextToText.from_pretrained(tiny_llava, dtype=torch.bfloat16).save_pretrained(folder)
    AutoProcessor.from_pretrained(tiny_llava).save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def logits(model: Any, processor: Any, *, autocast: bool = False) -> torch.Tensor:
    """Ask a model one question, in float32 or as training and the evaluation in it do; past accelerate's wrapper."""
    images = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    inputs = processor(images=[images], text="<image> What is it?", return_tensors="pt")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found: torch.Tensor = type(model).forward(model.eval(), **inputs).logits
    return found


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """The logits and the weights of the model in training, each time that it has been saved."""
    found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    save = Saver.save

    def save_and_ask(self: Saver, *arguments: Any) -> None:
        save(self, *arguments)
        model = self.accelerator.unwrap_model(self.model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        found.append((logits(model, self._processor), state))
        self.model.train()

    monkeypatch.setattr(Saver, "save", save_and_ask)
    return found


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4])
def test_a_checkpoint_in_bf16_keeps_every_change(
    recipe_file: Callable[..., str], bf16_base: Path, live: list[Any], rate: float
) -> None:
    recipe = recipe_file(
        model=str(bf16_base), train="full", steps=30, optimiser={"learning_rate": rate}, precision="bf16",
        schedule={"name": "constant", "warmup": 0},
    )  # fmt: skip
    last = finetune(read(recipe))
    expected, trained = live[-1]
    base, saved = (AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (bf16_base, last))
    changed = {name: trained[name].float() != value.float() for name, value in base.items()}
    survived = sum((saved[name].float() != base[name].float())[where].sum().item() for name, where in changed.items())
    total = sum(where.sum().item() for where in changed.values())
    assert total > 10_000
    assert survived >= 0.99 * total
    for arguments in ({}, {"dtype": "auto"}, {"dtype": torch.float32}):
        loaded = AutoModelForImageTextToText.from_pretrained(last, **arguments)
        assert (logits(loaded, AutoProcessor.from_pretrained(last)) - expected).abs().max().item() == 0


@pytest.mark.usefixtures("data_dir")
def test_what_rounding_takes_back_is_counted_and_told(
    recipe_file: Callable[..., str], bf16_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {}
    for dtype in ("base", "bf16"):
        recipe = recipe_file(
            model=str(bf16_base), train="full", steps=30, optimiser={"learning_rate": 1e-6}, precision="bf16",
            save={"every": "end", "dtype": dtype}, schedule={"name": "constant", "warmup": 0},
        )  # fmt: skip
        last = finetune(read(recipe, [f"output={tmp_path / dtype}"]))
        base, saved = weights(bf16_base), weights(last)
        assert {value.dtype for value in saved.values()} == {torch.bfloat16}
        lines = [json.loads(line) for line in (tmp_path / dtype / LOG_FILE).read_text().splitlines()]
        (shares[dtype],) = [line["surviving"] for line in lines if "surviving" in line]
        kept = sum((saved[name] != value).sum().item() for name, value in base.items())
        total = sum(value.numel() for value in base.values())
        assert shares[dtype] == pytest.approx(kept / total, abs=0.1)
        assert AutoModelForImageTextToText.from_pretrained(last).dtype == torch.bfloat16
    assert shares["base"] < 0.1  # 3.2 % on a full-size model
    assert shares["bf16"] > shares["base"]
    assert "of the weights that training changed are changed as stored in bfloat16; set save.dtype: fp32" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("dtype", ["fp32", "base", "bf16"])
def test_what_is_evaluated_is_what_is_saved(
    recipe_file: Callable[..., str], bf16_base: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    from finetune.training import saving

    asked: list[torch.Tensor] = []

    def evaluate(model: Any, processor: Any, accelerator: Any, *_: Any) -> dict[str, float]:
        asked.append(logits(accelerator.unwrap_model(model), processor, autocast=True))
        model.train()
        return {}

    monkeypatch.setattr(saving, "evaluate_live", evaluate)
    recipe = recipe_file(
        model=str(bf16_base), train="full", steps=3, optimiser={"learning_rate": 1e-4}, precision="bf16",
        save={"every": "end", "dtype": dtype}, evaluate={"tasks": ["emt_mnist"], "at_start": False},
    )  # fmt: skip
    monkeypatch.setattr("finetune.training.run.check_tasks", lambda _settings: None)
    last = finetune(read(recipe))
    loaded = AutoModelForImageTextToText.from_pretrained(last, dtype=torch.float32)
    again = logits(loaded, AutoProcessor.from_pretrained(last), autocast=True)
    torch.testing.assert_close(again, asked[-1], rtol=0, atol=0)


@pytest.mark.usefixtures("data_dir")
def test_merging_keeps_what_an_adapter_changes(
    recipe_file: Callable[..., str], bf16_base: Path, tmp_path: Path
) -> None:
    settings = {"llm": {"lora": {"rank": 2}}}
    recipe = recipe_file(model=str(bf16_base), train=settings, steps=3, optimiser={"learning_rate": 1e-5})
    last = finetune(read(recipe))
    base = weights(bf16_base)
    for dtype, kinds in (("fp32", {torch.float32, torch.bfloat16}), ("base", {torch.bfloat16})):
        found = weights(merge(str(last), tmp_path / dtype, dtype=dtype))  # type: ignore[arg-type]
        assert {value.dtype for value in found.values()} == kinds
        changed = {name for name, value in found.items() if not torch.equal(value.float(), base[name].float())}
        if dtype == "fp32":
            assert {name for name, value in found.items() if value.dtype == torch.float32} == changed
            assert len(changed) == 2 * 7
            rows = [(found[name].float() != base[name].float()).float().mean().item() for name in changed]
            assert min(rows) > 0.99
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "fp32").dtype == torch.float32
    half = weights(merge(str(last), tmp_path / "half", with_base=0.5))
    whole = weights(tmp_path / "fp32")
    for name in changed:
        torch.testing.assert_close(half[name], (base[name].float() + whole[name].float()) / 2, rtol=0, atol=1e-7)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.integers(0, 99)
)
def test_stochastic_rounding_takes_a_neighbour(values: list[float], seed: int) -> None:
    value = torch.tensor(values, dtype=torch.float32)
    rounded = stochastic(value, torch.Generator().manual_seed(seed))
    exact = value.to(torch.bfloat16).float()
    assert rounded.dtype == torch.bfloat16
    fits = exact == value
    assert torch.equal(rounded.float()[fits], value[fits])
    finite = torch.isfinite(rounded.float())
    # 8 significant bits: the next number is at most 2^-7 of the value away.
    assert ((rounded.float() - value).abs() <= value.abs() * 2**-7 + 1e-38)[finite].all()


def test_stochastic_rounding_is_right_on_average() -> None:
    value = torch.full((200_000,), 1 + 1 / 512)  # a quarter of the way from 1 to the next number, 1 + 1/128
    rounded = stochastic(value, torch.Generator().manual_seed(1)).float()
    assert set(rounded.unique().tolist()) == {1.0, 1 + 1 / 128}
    assert (rounded - 1).mean().item() == pytest.approx(1 / 512, rel=0.02)
    odd = torch.tensor([float("inf"), float("-inf"), float("nan"), 0.0, -0.0])
    assert torch.equal(stochastic(odd, torch.Generator()).isnan(), odd.isnan())
    assert stochastic(odd, torch.Generator())[:2].tolist() == [float("inf"), float("-inf")]


def test_names_that_share_memory_still_do() -> None:
    shared = torch.ones(3)
    stored = Storage({"embed"}, torch.bfloat16, "fp32").store({"head": shared, "embed": shared, "ids": torch.arange(3)})
    assert stored["head"] is stored["embed"]
    assert (stored["embed"].dtype, stored["ids"].dtype) == (torch.float32, torch.int64)
    assert list(stored) == ["head", "embed", "ids"]
