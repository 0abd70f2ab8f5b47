"""`emt finetune --advise` as people call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from emt_tasks.commands.app import main
from finetune.data.llava import to_llava
from finetune.recipes.files import read
from finetune.recipes.schema import SourceEntry

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and no data."""
    monkeypatch.delenv("EMT_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advise(capsys: Captured, *words: str) -> tuple[str, str]:
    """What the command prints to standard output and to standard error."""
    capsys.readouterr()
    assert main(["finetune", "--advise", *words]) == 0
    return capsys.readouterr()


def test_the_demos_recipe_dry_runs(empty: Path, capsys: Captured) -> None:
    out, told = advise(capsys, "data=demo_digits", "model=emt:tiny")
    Path("my.yaml").write_text(out)
    recipe = read("my.yaml")
    assert list(recipe.parts) == ["full"]
    assert [source.data for source in recipe.mixture.sources] == [
        "demo_digits", "demo_digits_qa", "demo_shapes", "demo_shapes_qa",
    ]  # fmt: skip
    assert recipe.probe and recipe.probe.learn == "demo_digits"
    assert set(recipe.probe.tasks) == {"demo_digits", "demo_digits_qa", "demo_shapes", "demo_shapes_qa"}
    assert (recipe.save.every, recipe.save.keep) == (32, "best")  # a sixth of 188 steps
    for task, quadrant in (
        ("demo_digits_qa", "oodt_idi"),
        ("demo_shapes", "idt_oodi"),
        ("demo_shapes_qa", "oodt_oodi"),
    ):
        assert any(line.split()[:2] == [task, quadrant] for line in told.splitlines())
    assert main(["finetune", "my.yaml", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "demo_digits:train        1,397      1,397  70.0 %" in printed
    assert "188 steps of 32 examples" in printed  # 3 · 1,397 / 0.7 / 32
    assert "regularisers" in printed


def test_conversations_with_bad_rows_and_no_task_here(
    empty: Path, small_data: Path, tiny_llava: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with monkeypatch.context() as there:
        there.setenv("EMT_DATA_DIR", str(small_data))
        to_llava(SourceEntry(data="cifar10"), empty / "photos")
    rows = json.loads((empty / "photos" / "cifar10_train.json").read_text())
    rows.append({**rows[0], "image": "gone.png"})
    Path("photos/mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, told = advise(
        capsys, "data=photos/mine.jsonl", f"model={tiny_llava}", "train=projector", "mixture.bad_rows=skip"
    )
    fields = yaml.safe_load(out)
    assert fields["train"] == "projector"
    assert fields["mixture"] == {"sources": [{"data": "photos/mine.jsonl"}], "bad_rows": "skip"}
    assert fields["regularise"] == {"l2_sp": {"weight": 0.01}}
    assert "probe" not in fields and "evaluate" not in fields
    flat = " ".join(told.split())
    assert "1 sampled rows cannot be used" in flat and "gone.png" in flat
    assert "not on this machine, so neither watched nor evaluated: flowers102, imagenet1k" in flat
    assert "emt_cifar10 cannot tell" in flat
    Path("my.yaml").write_text(out)
    assert main(["finetune", "my.yaml", "--dry-run"]) == 0


def test_a_data_set_that_is_not_here_is_known_by_the_catalog(empty: Path, tiny_llava: Path, capsys: Captured) -> None:
    out, told = advise(capsys, "data=imagenet1k", f"model={tiny_llava}")
    flat = " ".join(told.split())
    assert "imagenet1k:train is not on this machine: its rows and images were not looked at" in flat
    assert "imagenet1k, an unknown number of examples (by the catalog): 1 question, 1,000 answers, a closed set" in flat
    assert "imagewikiqa oodt_idi" in flat
    assert yaml.safe_load(out)["mixture"] == {"sources": [{"data": "imagenet1k"}]}


def test_with_names_the_other_data(data_dir: Path, tiny_llava: Path, capsys: Captured) -> None:
    out, _ = advise(capsys, "data=mnist", f"model={tiny_llava}", "with=ocr_vqa")
    sources = yaml.safe_load(out)["mixture"]["sources"]
    # 3 epochs of 24 / 0.7 examples, 30 % of them: 31 of the 48 questions.
    assert sources == [{"data": "mnist"}, {"data": "ocr_vqa", "ratio": 0.3, "limit": 31}]


def test_training_on_what_is_evaluated_is_said(data_dir: Path, tiny_llava: Path, capsys: Captured) -> None:
    """The last four rows of the small MNIST's training split are its test split."""
    _, told = advise(capsys, "data=mnist", f"model={tiny_llava}")
    assert "training images that are evaluated on: emt_mnist (4); see emt data check" in " ".join(told.split())


def test_no_model_is_no_error_but_said(empty: Path, capsys: Captured) -> None:
    out, told = advise(capsys, "data=demo_digits", "--memory", "80")
    assert yaml.safe_load(out)["model"] == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert yaml.safe_load(out)["train"] == {"llm_attention": {}}
    flat = " ".join(told.split())
    assert "no model given, and model: Qwen/Qwen2.5-VL-3B-Instruct cannot be loaded" in flat
    assert "memory: 80.0 GiB, as given" in flat


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--advise: give the training data, as data=NAME or data=FILE"),
        (["model=emt:tiny"], "--advise: give the training data"),
        (["emt_lora", "data=mnist"], "--advise: found 'emt_lora', expected data=…, model=… or a recipe's field"),
        (["data=nothing"], "unknown data set 'nothing'; choose one of mnist"),
        (["data=nothing.jsonl"], "nothing.jsonl cannot be read as JSON"),
        (
            ["data=demo_digits", "split=nothing"],
            "demo data 'demo_digits' has no split 'nothing'; choose one of train, test",
        ),
        (["data=demo_digits", "model=nowhere/at-all"], "model: nowhere/at-all cannot be loaded"),
        (["data=demo_digits", "model=emt:tiny", "train=all"], "--advise: train.all: input should be"),
        (["data=demo_digits", "model=emt:tiny", "optimizer.learning_rate=1"], "unknown key optimizer, did you mean"),
        (["data=demo_digits", "--dry-run"], "--advise only prints a recipe; leave out --dry-run"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, empty: Path, capsys: Captured) -> None:
    assert main(["finetune", "--advise", *words]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    (line,) = [line for line in found.err.splitlines() if line.startswith("emt: ")]
    assert said in line


def test_without_advise_a_recipe_is_needed(capsys: Captured) -> None:
    assert main(["finetune", "--dry-run"]) == 2
    assert "RECIPE is missing" in capsys.readouterr().err
    assert main(["finetune", "demo/full_low", "--memory", "8"]) == 2
    assert "--memory: only with --advise" in capsys.readouterr().err


def test_wrong_data_is_told_before_torch_loads(run_python: Callable[[str], list[str]]) -> None:
    """A spelling mistake in the data's name costs no half minute."""
    code = "from emt_tasks.commands.app import main\nmain(['finetune', '--advise', 'data=nothing'])"
    assert run_python(code) == []


@pytest.fixture
def run_python() -> Callable[[str], list[str]]:
    """Return which heavy modules a fresh interpreter has loaded after some code."""
    from tests.test_layering import loaded_by

    return lambda code: loaded_by(code, ("torch", "transformers", "peft"))
