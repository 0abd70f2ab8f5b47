"""Training again: what each cause changes about a recipe, and that the file is one."""

from __future__ import annotations

import pytest

from finetune.recipes.files import read
from finetune.rescue.retrain import CURES, Goal, retraining, written

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
    file.write_text(written(changed, cure, str(file)))
    again = read(str(file))
    assert again == changed
    assert (again.save.keep, again.output) == ("best", "again")
    assert (again.probe.learn, again.probe.stop, again.probe.tasks) == ("demo_digits", 5.0, GOAL.tasks)
    assert f"# Run: emt finetune {file}" in file.read_text()
