"""Whole runs of the command on a tiny model, in this process: what is trained, what stays, what is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from emt_core.errors import UserError
from emt_tasks.commands import finetune as cli
from finetune.model.building import empty_model
from finetune.model.parts import find_parts
from finetune.recipes.files import read
from tests.support import tiny_checkpoints

pytestmark = [
    pytest.mark.usefixtures("data_dir"),
    # peft reads a property that transformers has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def finetune(*arguments: str) -> Path:
    """Run `emt finetune` and return the folder that it prints."""
    result = CliRunner().invoke(cli.finetune, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return Path(result.stdout.strip().splitlines()[-1])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForImageTextToText.from_pretrained(folder)
    return dict(model.named_parameters())


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "emt_train.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(six_steps: Callable[..., str], tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """The output of six plain steps, to compare others with."""
    folder = tmp_path_factory.mktemp("plain")
    file = six_steps(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMT_DATA_DIR", str(small_data))
        finetune(file)
    return folder / "run"


def test_what_a_run_leaves(plain: Path, tiny_llava: Path) -> None:
    assert sorted(path.name for path in plain.iterdir()) == [
        ".emt-made.json",
        "checkpoint-000003",
        "checkpoint-000006",
        "emt_recipe.yaml",
        "emt_train.jsonl",
        "last",
        "resume-000006",
    ]
    assert (plain / "last").resolve() == plain / "checkpoint-000006"
    assert not [path for path in plain.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert read(str(plain / "last" / "emt_recipe.yaml")).model == str(tiny_llava)
    assert [line["step"] for line in log(plain / "checkpoint-000003")] == [1, 2, 3]
    lines = log(plain)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["loss"] == pytest.approx(lines[0]["loss_by_source"]["mnist"])
    assert lines[2]["epoch"] == 1.0  # 3 steps of 8 are the 24 examples once
    assert lines[-1]["loss"] < lines[0]["loss"]
    AutoProcessor.from_pretrained(plain / "last")
    assert any(not torch.equal(value, weights(tiny_llava)[name]) for name, value in weights(plain / "last").items())


@pytest.mark.parametrize("changes", [["batch.micro=1"], ["batch.micro=2", "gradient_checkpointing=true"]])
def test_accumulated_batches_are_one_large_batch(
    plain: Path, recipe_file: Callable[..., str], changes: list[str]
) -> None:
    folder = finetune(recipe_file(), *changes)
    expected = weights(plain / "last")
    for name, value in weights(folder).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0, msg=name)
    for one, other in zip(log(plain), log(folder.parent), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_unequal_answers_weigh_by_their_tokens(recipe_file: Callable[..., str], plain: Path) -> None:
    """Answers of 4 and of 40 tokens in different micro batches: each token counts alike."""
    mixture = {"sources": [{"data": "mnist", "ratio": 0.5}, {"data": "cifar10", "answer": "{label} " * 12}]}
    runs = [
        finetune(recipe_file(mixture=mixture, steps=2), f"output={plain.parent}/{micro}", f"batch.micro={micro}")
        for micro in (8, 2)
    ]
    (one, other) = (weights(folder) for folder in runs)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0, msg=name)
    (line, _) = log(runs[0])
    by_source = line["loss_by_source"]
    assert set(by_source) == {"mnist", "cifar10"}
    assert min(by_source.values()) < line["loss"] < max(by_source.values())


@pytest.mark.parametrize("part", ["projector", "llm", "vision", "llm_attention", "llm_gate_up"])
def test_what_is_not_trained_stays_to_the_bit(part: str, recipe_file: Callable[..., str], tiny_llava: Path) -> None:
    recipe = recipe_file(train=part, steps=2)
    trained = set(find_parts(empty_model(read(recipe))).parameters[part])
    before, after = weights(tiny_llava), weights(finetune(recipe))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= trained
    # LLaVA reads the vision tower's last layer but one: the last has no gradient.
    assert len(changed) > len(trained) / 3


@pytest.mark.parametrize("architecture", sorted(set(tiny_checkpoints.ARCHITECTURES) - {"llava"}))
def test_other_architectures_train(
    architecture: str, tiny: Callable[[str], Path], recipe_file: Callable[..., str]
) -> None:
    folder = finetune(recipe_file(model=str(tiny(architecture)), train=["projector", "llm"], steps=2))
    models = [AutoModelForImageTextToText.from_pretrained(path) for path in (tiny(architecture), folder)]
    before, after = (dict([*model.named_parameters(), *model.named_buffers()]) for model in models)
    parts = find_parts(models[0]).parameters
    changed = {name for name, value in after.items() if not torch.equal(before[name], value)}
    assert changed
    assert not changed - {*parts["projector"], *parts["llm"]}
    assert all(math.isfinite(line["loss"]) for line in log(folder))


def test_batch_normalisation_does_not_see_the_batch(
    tiny: Callable[[str], Path], recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    """The loss does not depend on how many examples go through a tower at a time, even if the tower is trained."""
    found = [
        finetune(
            recipe_file(
                model=str(tiny("fast_vlm")), train="vision", steps=2, batch={"size": 8, "micro": micro},
                output=str(tmp_path / f"{micro}"),
            )
        )
        for micro in (1, 8)
    ]  # fmt: skip
    one, many = ([line["loss"] for line in log(folder)] for folder in found)
    assert one == pytest.approx(many, rel=1e-4)


def test_lora_leaves_the_base_alone(recipe_file: Callable[..., str], tiny_llava: Path) -> None:
    settings = {"llm": {"lora": {"rank": 4}}, "projector": {"learning_rate": 1e-4}}
    folder = finetune(recipe_file(train=settings, steps=2, gradient_checkpointing=True))
    saved = load_file(folder / "adapter_model.safetensors")
    assert all("lora_" in name or "multi_modal_projector" in name for name in saved)
    assert any(value.any() for name, value in saved.items() if "lora_B" in name)  # B starts at zero
    assert log(folder)[0]["learning_rate"]["projector"] == pytest.approx(log(folder)[0]["learning_rate"]["llm"] / 10)
    merged = finetune(recipe_file(train=settings, steps=2), "save.merged=true", "--overwrite")
    before, after = weights(tiny_llava), weights(merged)
    assert not torch.equal(before["model.language_model.layers.0.mlp.up_proj.weight"],
                           after["model.language_model.layers.0.mlp.up_proj.weight"])  # fmt: skip
    assert torch.equal(before["lm_head.weight"], after["lm_head.weight"])


def test_bf16_trains_in_float32_and_saves_as_the_base(recipe_file: Callable[..., str]) -> None:
    folder = finetune(recipe_file(train="llm", precision="bf16", steps=2))
    assert {value.dtype for value in weights(folder).values()} == {torch.float32}
    assert log(folder)[-1]["loss"] < 10


def test_a_mixture_with_text_alone_and_lengths_grouped(
    recipe_file: Callable[..., str], tmp_path: Path, plain: Path
) -> None:
    turns = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "Yes."}]
    (tmp_path / "mine.json").write_text(json.dumps([{"conversations": turns}] * 3))
    mixture = {"sources": [{"data": "mnist"}, {"data": str(tmp_path / "mine.json"), "ratio": 0.25}]}
    folder = finetune(recipe_file(mixture=mixture, batch={"size": 8, "micro": 4, "group_by_length": True}))
    lines = log(folder)
    assert {name for line in lines for name in line["loss_by_source"]} == {"mnist", str(tmp_path / "mine.json")}


def test_trackers_get_what_the_log_holds(recipe_file: Callable[..., str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = finetune(recipe_file(trackers=["tensorboard"], steps=3, save={"every": "end"})).parent
    events = EventAccumulator(str(output / "emt"))
    events.Reload()
    logged = [line for line in log(output) if "loss" in line]
    for tag, values in (
        ("loss", [line["loss"] for line in logged]),
        ("loss/mnist", [line["loss_by_source"]["mnist"] for line in logged]),
        ("learning_rate/full", [line["learning_rate"]["full"] for line in logged]),
    ):
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == pytest.approx(values)


def test_an_unknown_tracker_is_told_before_anything_loads(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(UserError, match=r"trackers: found 'tensorbored'; expected one of .*tensorboard"):
        finetune(recipe_file(trackers=["tensorbored"]))


def test_nothing_is_overwritten_and_resume_wants_the_same_recipe(
    plain: Path, recipe_file: Callable[..., str], tiny_llava: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in plain.rglob("*")}
    with pytest.raises(UserError, match="is not empty; choose another folder or add --resume or --overwrite"):
        finetune(recipe_file(output=str(plain)))
    with pytest.raises(UserError, match=r"--resume: .* another recipe: seed was 0 and is now 5"):
        finetune(recipe_file(output=str(plain), seed=5), "--resume")
    assert {path: path.stat().st_mtime_ns for path in plain.rglob("*")} == before


def test_resuming_a_finished_run_does_nothing(plain: Path, recipe_file: Callable[..., str]) -> None:
    before = (plain / "emt_train.jsonl").read_bytes()
    assert finetune(recipe_file(output=str(plain)), "--resume") == plain / "checkpoint-000006"
    assert (plain / "emt_train.jsonl").read_bytes() == before


def test_a_loss_that_is_no_number_stops_with_its_step(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"step \d+: the (loss|gradient's norm) is (nan|inf); the last good state is"
    ) as e:
        finetune(recipe_file(optimiser={"name": "sgd", "learning_rate": 1e12, "clip": None}, save={"every": 1}))
    assert "\n" not in str(e.value)
    kept = weights(tmp_path / "run" / "last")
    assert all(value.isfinite().all() for value in kept.values())


def test_an_unreadable_image_stops_with_its_row(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]
    (tmp_path / "mine.json").write_text(json.dumps([{"image": "a.png", "conversations": turns}]))
    with pytest.raises(UserError, match=r"mine.json, entry 0 .*a.png\): the image cannot be read"):
        finetune(recipe_file(mixture={"sources": [{"data": str(tmp_path / "mine.json")}]}))


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [("end", None, [9]), ("epoch", None, [3, 6, 9]), (4, None, [4, 8, 9]), ("epoch", 4, [3, 4])],
)
def test_when_to_save(every: Any, steps: int | None, expected: list[int], recipe_file: Callable[..., str]) -> None:
    from finetune.data.mixture import plan
    from finetune.training.saving import save_points

    recipe = read(recipe_file(save={"every": every}, epochs=None if steps else 3, steps=steps))
    chosen = plan(recipe.mixture, [24], seed=0)
    assert sorted(save_points(recipe, chosen, steps or chosen.steps(8, 3))) == expected
