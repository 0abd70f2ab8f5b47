"""Training again: what each cause changes about a recipe, and that the file is one."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from finetune.recipes.files import read
from finetune.rescue.retrain import CURES, DATA, Goal, assumed, retraining, written

GOAL = Goal("demo_digits", ("demo_digits", "demo_shapes"), 5.0, "again")


@pytest.fixture
def recipe():
    return read("demo/full_high", ["output=tuned"])


def test_format_gets_other_data(recipe):
    changed, _ = retraining(recipe, "format", ["demo_shapes", "demo_shapes_qa"], GOAL)
    assert [(source.data, source.ratio) for source in changed.mixture.sources[-2:]] == [
        ("demo_shapes", 0.05),
        ("demo_shapes_qa", 0.05),
    ]
    assert changed.optimiser == recipe.optimiser


def test_data_that_states_its_ratios_makes_room(recipe):
    two = read("demo/full_high", ["mixture.sources=[{data: demo_digits, ratio: 0.6}, {data: demo_shapes, ratio: 0.4}]"])
    changed, _ = retraining(two, "format", ["demo_shapes_qa"], GOAL)
    assert [source.ratio for source in changed.mixture.sources] == pytest.approx([0.54, 0.36, 0.1])


@pytest.mark.parametrize("cause", ["mouth", "unclear", "format"])
def test_otherwise_the_rate_falls_to_a_tenth(recipe, cause):
    """Of the whole and of each part that has its own; for `format` where there is no other data."""
    own = read("demo/full_high", ["train={llm: {learning_rate: 2e-3}, projector: }"])
    changed, cure = retraining(own, cause, [], GOAL)
    assert changed.optimiser.learning_rate == pytest.approx(own.optimiser.learning_rate / 10)
    assert changed.learning_rate("llm") == pytest.approx(2e-4)
    assert cure.rate == 0.1


def test_the_eye_is_left_frozen(recipe):
    assert set(retraining(recipe, "eye", [], GOAL)[0].train) == {"projector", "llm"}  # of full
    changed, cure = retraining(read("demo/full_high", ["train=[vision, projector]"]), "eye", [], GOAL)
    assert set(changed.train) == {"projector"} and cure is CURES["eye"]
    alone, cure = retraining(read("demo/full_high", ["train=[vision]"]), "eye", [], GOAL)
    assert set(alone.train) == {"vision"} and cure is CURES["unclear"]


@pytest.mark.parametrize("cause", sorted(CURES))
def test_the_file_is_a_recipe_that_watches_and_keeps_the_best(recipe, cause, tmp_path):
    changed, cure = retraining(recipe, cause, ["demo_shapes"], GOAL)
    file = tmp_path / "retrain.yaml"
    file.write_text(written(changed, cure, "Most of it is this.", f"emt finetune {file}"))
    again = read(str(file))
    assert again == changed
    assert (again.save.keep, again.output) == ("best", "again")
    assert (again.probe.learn, again.probe.stop, again.probe.tasks) == ("demo_digits", 5.0, GOAL.tasks)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert header[-1] == f"# Run: emt finetune {file}" and "Most of it is this." in header[0]
    assert cure.source in " ".join(line[2:] for line in header)


def test_a_margin_of_nothing_does_not_stop_the_training(recipe):
    """A stop of 0 points would be none that a recipe may have."""
    assert retraining(recipe, "mouth", [], Goal("demo_digits", ("demo_shapes",), 0.0, "again"))[0].probe.stop is None


def test_the_demo_s_file_is_ready_to_run(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    changed, cure = retraining(recipe, "format", ["demo_shapes"], GOAL)
    (tmp_path / "retrain.yaml").write_text(written(changed, cure, "", "emt finetune retrain.yaml"))
    assert main(["finetune", "retrain.yaml", "--dry-run"]) == 0
    assert "demo_shapes:train" in capsys.readouterr().out


def test_what_is_not_known_of_a_candidate_is_asked_for(tmp_path):
    """Its parts are known, and its data is not: reading the file names the field, and giving it is enough."""
    changed, cure = retraining(assumed("emt:tiny", ["llm_attention", "vision"], None), "eye", [], GOAL)
    assert set(changed.train) == {"llm_attention"} and changed.optimiser.learning_rate == 2e-5
    file = tmp_path / "retrain.yaml"
    file.write_text(written(changed, cure, "", "emt finetune"))
    with pytest.raises(UserError, match=r"mixture.sources\[0\].data") as refused:
        read(str(file))
    assert "\n" not in str(refused.value)
    assert read(str(file), [f"{DATA}=demo_digits"]).mixture.sources[0].data == "demo_digits"


def test_an_adapter_s_settings_are_known():
    adapter = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "use_rslora": True, "use_dora": False}
    changed, _ = retraining(assumed("emt:tiny", ["llm_attention", "llm_gate_up", "llm"], adapter), "mouth", [], GOAL)
    (part,) = changed.train
    lora = changed.parts[part].lora
    assert part == "llm" and lora and (lora.rank, lora.alpha, lora.dropout, lora.rslora) == (8, 32, 0.1, True)
    assert changed.optimiser.learning_rate == pytest.approx(2e-5)  # a tenth of what LoRA usually has
