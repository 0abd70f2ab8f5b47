"""Every shipped recipe is valid, says where it comes from, and gets through a dry run on tiny checkpoints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emt_tasks.commands import finetune as cli
from finetune.recipes.files import FOLDER, read, shipped_recipes

ARCHITECTURES = {"forgetting": "qwen2_5_vl", "selective": "llava_onevision", "emt": "llava"}


def header(name: str) -> str:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def commands(name: str) -> list[str]:
    """The commands of a recipe's header: its name, and the overrides."""
    return re.findall(r"emt finetune ([\w/]+(?: \S+=\S+)*)", header(name))


@pytest.mark.parametrize("name", shipped_recipes())
def test_headers_name_source_command_and_what_is_ours(name: str) -> None:
    text = header(name)
    assert "Needs:" in text
    assert commands(name)
    if not name.startswith("demo"):
        assert re.search(r"# Paper: arXiv \d{4}\.\d{5}", text)
        assert "Ours" in text


@pytest.mark.parametrize("command", sorted({command for name in shipped_recipes() for command in commands(name)}))
def test_each_command_of_a_header_gives_a_recipe(command: str) -> None:
    name, *overrides = shlex.split(command)
    read(name, overrides)


@pytest.mark.parametrize("name", shipped_recipes())
def test_dry_run(name: str, data_dir: Path, tiny: Callable[[str], Path]) -> None:
    architecture = next((value for key, value in ARCHITECTURES.items() if name.startswith(key)), "llava")
    model = [] if name.startswith("demo") else [f"model={tiny(architecture)}"]
    result = CliRunner().invoke(cli.finetune, [name, "--dry-run", *model])
    assert result.exception is None, result.exception
    printed = result.stdout
    assert "output: runs/" in printed
    share = re.search(r"total, of [\d,]+ \((\d+\.\d\d) %\) +[\d,]+", printed)
    assert share
    assert (share[1] == "100.00") == (list(read(name, model).parts) == ["full"])  # a tied head counts once
    assert re.search(r"[\d,]+ steps of \d+ examples, [\d,]+ examples per epoch", printed)
    assert re.search(r"total +\d+\.\d (MiB|GiB)", printed)
    shares = {part: float(share) for part, share in re.findall(r"^(\w+) +[\d,]+ +(\d+\.\d) %$", printed, re.MULTILINE)}
    assert shares["full"] == 100
    assert sum(shares.get(part, 0) for part in ("vision", "audio", "projector", "llm")) == pytest.approx(100, abs=0.2)


def test_dry_run_says_what_is_watched() -> None:
    """2 tasks · 16 documents · 16 tokens · 2 bytes · 512 words would be 0.5 MiB; the demo's vocabulary is known."""
    probe = "probe={tasks: [demo_digits, demo_shapes], learn: demo_digits, every: 10, stop: 3.0, then: slower}"
    result = CliRunner().invoke(cli.finetune, ["demo/full_high", "--dry-run", probe, "save.keep=best"])
    assert result.exception is None, result.exception
    assert (
        "probe: 16 of at most 128 documents of demo_digits (learned), demo_shapes, after every 10 steps, 13 times; "
        "the learning rate falls to a tenth once one is shown to have lost more than 3 points"
    ) in result.stdout
    assert "the base answers the pools before the first step; of its probabilities at most" in result.stdout
    assert "save.keep: best scores the pools 2 more times" in result.stdout
    assert "lost at most 3 points" in result.stdout
    auto = CliRunner().invoke(cli.finetune, ["demo/full_high", "--dry-run", "probe={tasks: [demo_matrix]}"])
    assert "as often as takes at most 5 % of the time\n" in auto.stdout
    wrong = CliRunner().invoke(cli.finetune, ["demo/full_high", "--dry-run", "probe={tasks: [demo_matrix], learn: x}"])
    assert "probe.learn: x is not one of probe.tasks (demo_digits, " in str(wrong.exception)


def test_papers_experiments_are_all_there() -> None:
    for data in ("mnist", "cifar10", "cifar100", "miniimagenet"):
        for way, parts in (("linear", ["projector"]), ("lora", ["projector", "llm"])):
            recipe = read(f"emt_{way}", [f"data={data}"])
            assert (recipe.epochs, recipe.save.every) == (3, "epoch")
            assert list(recipe.parts) == parts
            assert bool(recipe.has_lora) == (way == "lora")
            assert recipe.mixture.sources[0].data == data
            assert recipe.output == f"runs/emt/7b-{way}-{data}"
    for part in ("llm", "vision", "projector", "full"):
        for rate in (1e-6, 1e-5, 1e-4):
            recipe = read("forgetting_single", [f"part={part}", f"rate={rate}"])
            assert (list(recipe.parts), recipe.optimiser.learning_rate) == ([part], rate)
    for other in ("flowers102", "ocr_vqa", "instructions.json"):
        for share in (0.1, 0.5, 0.7):
            sources = read("forgetting_hybrid", [f"with={other}", f"share={share}"]).mixture.sources
            assert [(source.data, source.ratio) for source in sources] == [("imagenet1k", None), (other, share)]


def test_what_lora_leaves_alone_is_counted(recipe_file: Callable[..., str]) -> None:
    from finetune.model.building import empty_model
    from finetune.training.dry_run import without_adapter

    recipe = read(recipe_file(train={"llm": {"lora": {"rank": 2}}, "projector": {}}))
    model = empty_model(recipe)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    found = without_adapter(model, recipe)
    assert set(found) == {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    assert sum(found.values()) == embeddings.numel() + head.numel()
