"""What a recipe may switch on: quantized weights, 8-bit moments, compiled layers, the loss on held-out examples."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from finetune.data.sources import open_source
from finetune.model.building import make_collator
from finetune.recipes.files import read
from finetune.training import loop
from finetune.training.loss import answer_losses
from finetune.training.run import finetune

pytestmark = [
    pytest.mark.usefixtures("data_dir"),
    # peft reads a property that transformers has renamed; torch's compiler looks at gradients that are not there.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]
LORA = {"llm": {"lora": {"rank": 4}}}
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes, an extra, is not installed"
)


def log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "emt_train.jsonl").read_text().splitlines()]


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in log(output) if "loss" in line]


def test_the_loss_on_other_examples(recipe_file: Callable[..., str], tiny_llava: Path) -> None:
    """It is the mean over answer tokens, before the first step and at each checkpoint; a resumed run adds none."""
    held_out = [{"data": "cifar10", "split": "test", "limit": 5}, {"data": "mnist", "split": "test"}]
    recipe = read(recipe_file(evaluate={"loss_on": held_out}))
    output = finetune(recipe).parent
    found = {line["step"]: line["validation_loss"] for line in log(output) if "validation_loss" in line}
    assert sorted(found) == [0, 3, 6]
    assert all(sorted(values) == ["cifar10", "mnist"] for values in found.values())
    assert found[6]["mnist"] < found[0]["mnist"]
    for step, folder in ((0, tiny_llava), (6, output / "last")):
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        collate = make_collator(model, AutoProcessor.from_pretrained(folder))
        source = open_source(recipe.evaluate.loss_on[0])
        examples = [source[index] for index in range(5)]
        batch = collate(examples, [example.load_images() for example in examples], [0] * 5)
        with torch.no_grad():
            expected, _ = answer_losses(model.eval(), model.get_output_embeddings(), batch)
        assert found[step]["cifar10"] == pytest.approx(expected.mean().item(), rel=1e-4)
    before = len(log(output))
    finetune(recipe, resume=True)
    assert len(log(output)) == before


def test_bad_rows_of_the_other_examples_are_found_first(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "held_out.json"
    rows = [{"question": "Why?", "answer": "So."}, {"image": "missing.png", "question": "What?", "answer": "That."}]
    file.write_text(json.dumps(rows))
    held_out = {"loss_on": [{"data": str(file)}]}
    with pytest.raises(UserError, match=r"^evaluate\.loss_on: 1 of 2 rows cannot be used: .*missing\.png"):
        finetune(read(recipe_file(evaluate=held_out)))
    mixture = {"sources": [{"data": "mnist"}], "bad_rows": "skip"}
    output = finetune(read(recipe_file(evaluate=held_out, mixture=mixture))).parent
    assert [line["validation_loss"].keys() for line in log(output) if "validation_loss" in line] == [{str(file)}] * 3


def test_validation_leaves_training_alone(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    plain = finetune(read(recipe_file(output=str(tmp_path / "plain")))).parent
    held_out = {"loss_on": [{"data": "mnist", "split": "test"}]}
    watched = finetune(read(recipe_file(evaluate=held_out, output=str(tmp_path / "watched")))).parent
    assert losses(watched) == losses(plain)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++, which is not there")
def test_compiled_layers_train_the_same(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    plain, compiled = (
        finetune(read(recipe_file(compile=on, output=str(tmp_path / f"{on}")))).parent for on in (False, True)
    )
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4)
    one, other = (load_file(folder / "last" / "model.safetensors") for folder in (plain, compiled))
    assert set(one) == set(other)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantization": "nf4"}, "quantization: full is trained in full; only LoRA can be trained on quantized"),
        ({"quantization": "int8", "train": "llm_attention"}, "quantization: llm_attention is trained in full"),
        ({"quantization": "nf4", "train": LORA, "save": {"merged": True}}, "save.merged: not with quantization"),
    ],
)
def test_what_cannot_be_quantized(recipe_file: Callable[..., str], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(recipe_file(**fields))


def test_bitsandbytes_is_an_extra(recipe_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    for fields, name in (
        ({"quantization": "nf4", "train": LORA}, "quantization"),
        ({"optimiser": {"name": "adamw_8bit", "learning_rate": 1e-3}}, "optimiser.name"),
    ):
        with pytest.raises(UserError, match=rf"{name}: bitsandbytes is not installed; run: pip install 'emt-eval\["):
            finetune(read(recipe_file(**fields)))


@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_adapters_on_quantized_weights(recipe_file: Callable[..., str], wide_llava: Path, kind: str) -> None:
    """The language model's layers are quantized, the others are not; the adapter loads on the base as it was."""
    last = finetune(read(recipe_file(model=str(wide_llava), quantization=kind, train={**LORA, "projector": {}})))
    assert losses(last.parent)[-1] < losses(last.parent)[0]
    base = AutoModelForImageTextToText.from_pretrained(wide_llava, dtype=torch.float32)
    before = {name: value.clone() for name, value in base.named_parameters()}
    merged = PeftModel.from_pretrained(base, last).merge_and_unload()
    changed = {name.split(".")[1] for name, value in merged.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"language_model", "multi_modal_projector"}


@needs_bitsandbytes
def test_moments_in_eight_bits_resume(recipe_file: Callable[..., str], wide_llava: Path, tmp_path: Path) -> None:
    fields = {"model": str(wide_llava), "optimiser": {"name": "adamw_8bit", "learning_rate": 1e-3}}
    whole = finetune(read(recipe_file(**fields, output=str(tmp_path / "whole")))).parent
    assert losses(whole)[-1] < losses(whole)[0]
    half = read(recipe_file(**fields, output=str(tmp_path / "half")))
    step = loop.Training._step

    def stopped(self: Any, number: int, batches: Any) -> Any:
        if number == 4:
            raise KeyboardInterrupt
        return step(self, number, batches)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Training, "_step", stopped)
        finetune(half)
    finetune(half, resume=True)
    assert losses(tmp_path / "half") == losses(whole)


@pytest.fixture(scope="module")
def wide_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA whose layers are 64 wide, as bitsandbytes needs on a CPU."""
    from tests.support import tiny_checkpoints

    folder = tmp_path_factory.mktemp("wide")
    tiny = tiny_checkpoints.build("llava", folder / "tiny")
    model: Any = AutoModelForImageTextToText.from_pretrained(tiny)
    model.config.text_config.update({"hidden_size": 64, "intermediate_size": 128, "head_dim": 16})
    torch.manual_seed(0)
    type(model)(model.config).save_pretrained(folder / "model")
    AutoProcessor.from_pretrained(tiny).save_pretrained(folder / "model")
    return folder / "model"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_bases_in_half_precision_stay_what_they_are(
    recipe_file: Callable[..., str], tiny_llava: Path, tmp_path: Path, dtype: torch.dtype, precision: str
) -> None:
    """What is trained is stored in float32, and all other weights bit for bit as they came."""
    base = tmp_path / "base"
    AutoModelForImageTextToText.from_pretrained(tiny_llava, dtype=dtype).save_pretrained(base)
    AutoProcessor.from_pretrained(tiny_llava).save_pretrained(base)
    last = finetune(read(recipe_file(model=str(base), train="projector", precision=precision)))
    assert losses(last.parent)[-1] < losses(last.parent)[0]
    before, after = load_file(base / "model.safetensors"), load_file(last / "model.safetensors")
    for name, value in after.items():
        trained = "projector" in name
        assert value.dtype == (torch.float32 if trained else dtype)
        assert trained or torch.equal(value, before[name])
