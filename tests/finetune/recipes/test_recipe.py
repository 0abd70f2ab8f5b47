"""Recipes: read whole, checked whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emt_core.errors import UserError
from finetune.recipes.files import read, shipped_recipes
from finetune.recipes.schema import Recipe


def test_all_faults_come_in_one_line(recipe_file: Callable[..., str]) -> None:
    file = recipe_file(seed=-1, outptu="x", batch={"size": 8, "mirco": 4}, model=None)
    with pytest.raises(UserError) as caught:
        read(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: 4 faults: ")
    assert "unknown key batch.mirco, did you mean micro?" in message
    assert "unknown key outptu, did you mean output?" in message
    assert "model is missing" in message
    assert "seed: input should be greater than or equal to 0, found -1" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"epochs": 1}, "give either epochs or steps"),
        ({"steps": None}, "give either epochs or steps"),
        ({"batch": {"size": 9, "micro": 4}}, "batch.size 9 is not a multiple of batch.micro 4"),
        ({"train": ["full", "llm"]}, "full includes all parts"),
        ({"train": ["llm", "llm_gate_up"]}, "llm_gate_up is inside llm"),
        ({"train": "eyes"}, "found 'eyes'"),
        ({"train": []}, "train"),
        ({"save": {"merged": True}}, "nothing is trained with LoRA"),
        (
            {"train": {"llm": {"lora": {"rank": 4}}, "vision": {"lora": {"rank": 8}}}},
            "parts with LoRA have different settings",
        ),
        ({"mixture": {"sources": []}}, "mixture.sources"),
        ({"mixture": {"sources": [{"data": "mnist", "ratio": 0.5}]}}, "ratios add up to 0.5; expected 1"),
        (
            {"mixture": {"sources": [{"data": "a"}, {"data": "b"}, {"data": "c", "ratio": 0.5}]}},
            "2 sources have no ratio",
        ),
        ({"mixture": {"sources": [{"data": "a"}, {"data": "b", "ratio": 1}]}}, "leaves nothing for the source"),
        (
            {"mixture": {"sources": [{"data": "a", "ratio": 0}, {"data": "b", "ratio": 1}]}},
            "the first source has ratio 0",
        ),
    ],
)
def test_rules(recipe_file: Callable[..., str], fields: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected.replace("(", r"\(")):
        read(recipe_file(**fields))


def test_overrides_go_deep_and_keep_types(recipe_file: Callable[..., str]) -> None:
    recipe = read(
        recipe_file(),
        ["optimiser.learning_rate=1e-5", "mixture.sources.0.limit=7", "train={llm: {lora: {rank: 2}}}", "seed=3"],
    )
    assert recipe.optimiser.learning_rate == 1e-5
    assert recipe.optimiser.epsilon == 1e-6  # its neighbour stays
    assert recipe.mixture.sources[0].limit == 7
    assert list(recipe.parts) == ["llm"]
    assert recipe.parts["llm"].lora is not None
    assert recipe.seed == 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "expected key=value"),
        ("mixture.sources.4.limit=1", "no such field in the recipe .*list index out of range"),
        ("mixture.sources.first.limit=1", "no such field in the recipe .*'first'"),
        ("seed=[", "seed|\\["),
    ],
)
def test_bad_overrides(recipe_file: Callable[..., str], override: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        read(recipe_file(), [override])


def test_parameters_are_filled_in_after_overrides(recipe_file: Callable[..., str]) -> None:
    file = recipe_file(
        parameters={"rate": 1e-3, "part": "llm"},
        train="${part}",
        optimiser={"learning_rate": "${rate}"},
        output="runs/${part}-${batch.size}",
    )
    recipe = read(file, ["part=vision", "batch.size=16"])
    assert list(recipe.train) == ["vision"]
    assert recipe.optimiser.learning_rate == 1e-3
    assert recipe.output == "runs/vision-16"
    with pytest.raises(UserError, match=r"recipe.*\.yaml: output: interpolation key 'nothing' not found$"):
        read(file, ["output=${nothing}"])
    with pytest.raises(UserError, match="output: recursive interpolation"):
        read(file, ["output=${output}"])
    with pytest.raises(UserError, match="override value"):
        read(file, ["output=${part"])


def test_fields_refer_to_fields_and_the_resolved_recipe_is_plain(recipe_file: Callable[..., str]) -> None:
    file = recipe_file(
        parameters={"half": "${batch.size}", "part": "llm"},
        mixture={
            "sources": [{"data": "mnist", "limit": "${batch.size}"}, {"data": "cifar10", "limit": "${.limit_of}"}]
        },
        batch={"size": 8, "micro": "${.size}"},
        output="runs/${mixture.sources.0.data}-${half}",
    )
    recipe = read(file, ["mixture.sources.1.limit=${mixture.sources[0].limit}", "batch.size=16"])
    assert (recipe.batch.micro, recipe.mixture.sources[0].limit, recipe.mixture.sources[1].limit) == (16, 16, 16)
    assert recipe.output == "runs/mnist-16"
    assert "$" not in recipe.to_yaml()
    with pytest.raises(UserError, match=r"mixture\.sources\[1\]\.limit: interpolation key '.limit_of' not found"):
        read(file)


def test_a_parameter_hides_no_field(recipe_file: Callable[..., str]) -> None:
    assert read(recipe_file(parameters={"seed": 3}, seed="${seed}", output="runs/${seed}")).output == "runs/3"
    with pytest.raises(UserError, match=r"parameters\.seed: the recipe also has a field seed"):
        read(recipe_file(parameters={"seed": 3}, seed=4))


def test_an_override_replaces_an_interpolated_part(recipe_file: Callable[..., str]) -> None:
    file = recipe_file(parameters={"part": "llm"}, train="${part}")
    assert read(file, ["train.vision.learning_rate=1e-4"]).train["vision"].learning_rate == 1e-4  # type: ignore[union-attr]
    assert list(read(file, ["parameters.part=[llm, vision]"]).train) == ["llm", "vision"]


def test_include_replaces_values_but_parts_as_a_whole(tmp_path: Path, recipe_file: Callable[..., str]) -> None:
    base = recipe_file(train={"projector": {}, "vision": {}})
    child = tmp_path / "child.yaml"
    child.write_text(f"include: {Path(base).name}\ntrain: {{llm: {{}}}}\nbatch: {{micro: 2}}\n")
    recipe = read(str(child))
    assert list(recipe.train) == ["llm"]
    assert (recipe.batch.size, recipe.batch.micro) == (8, 2)
    recipe_file(parameters={"part": "vision"}, train="${part}")
    child.write_text(f"include: {Path(base).name}\ntrain: {{llm: {{}}}}\n")
    assert list(read(str(child)).train) == ["llm"]
    child.write_text("include: child.yaml\n")
    with pytest.raises(UserError, match="includes itself"):
        read(str(child))


def test_the_resolved_recipe_reads_back_the_same(tmp_path: Path, recipe_file: Callable[..., str]) -> None:
    recipe = read(recipe_file(train={"llm": {"lora": {"rank": 4}}}, optimiser={"learning_rate": 1e-6, "clip": None}))
    again = tmp_path / "again.yaml"
    again.write_text(recipe.to_yaml())
    assert read(str(again)) == recipe
    assert recipe.optimiser.clip is None


def test_parts_inherit_the_learning_rate(recipe_file: Callable[..., str]) -> None:
    recipe: Recipe = read(recipe_file(train={"llm": {}, "projector": {"learning_rate": 0.5}}))
    assert (recipe.learning_rate("llm"), recipe.learning_rate("projector")) == (1e-3, 0.5)


def test_an_unknown_name_lists_the_shipped_recipes() -> None:
    with pytest.raises(UserError, match="emt_linear, emt_lora"):
        read("no_such_recipe")
    assert "emt_linear" in shipped_recipes()


@pytest.mark.parametrize(
    "content", ["- a", "a: [", "\x00", "a: 1\na: 2", "a: !!python/object/apply:os.getcwd []", "a: ${b"]
)
def test_what_is_no_recipe(tmp_path: Path, content: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"odd\.yaml") as caught:
        read(str(file))
    assert "\n" not in str(caught.value)
