"""Faults in one line each, and no line that breaks off."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from emt_core.errors import list_faults, listed


class Optimiser(BaseModel):
    model_config = ConfigDict(extra="forbid")

    learning_rate: float
    rates: dict[str, float] = {}
    name: str = "adam"

    @field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        if name != "adam":
            raise ValueError(f"Expected adam, found {name!r}")
        return name


def faults(data: dict[str, object], fields_at: Callable[..., list[str]] | None) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Optimiser(**data)
    return list_faults(caught.value.errors(), fields_at)


def test_each_fault_names_its_field() -> None:
    assert faults({"learning_rat": 1, "rates": {"a": "much"}}, None) == [
        "learning_rate is missing",
        "rates.a: input should be a valid number, unable to parse string as a number",
        "learning_rat: extra inputs are not permitted",
    ]


def test_with_the_fields_a_fault_says_what_was_found_and_what_may_be_meant() -> None:
    data = {"learning_rat": 1, "rates": {"a": "much"}, "name": "sgd", "zzz": 1}
    assert faults(data, lambda _where: list(Optimiser.model_fields)) == [
        "learning_rate is missing",
        "rates.a: input should be a valid number, unable to parse string as a number, found 'much'",
        "name: expected adam, found 'sgd'",
        "unknown key learning_rat, did you mean learning_rate?",
        "unknown key zzz",
    ]


ALWAYS_SOME = {
    "CATEGORIES", "DIGIT_QUESTIONS", "DTYPES", "FORMATS", "JUDGE_NAMES", "KINDS", "NAMES", "Policy.model_fields",
    "QUADRANTS", "get_args(Relationship)", "names()", "shipped_recipes()", "known", "nearest", "rows",
    "names", "map(str, sizes)",
}  # fmt: skip
"""What can never be empty: constants, registries, and lists that were found to hold something just before."""


def test_no_error_ends_in_a_list_of_nothing() -> None:
    """A list that may be empty is shown by `listed`."""
    assert listed([]) == "nothing"
    assert listed(["a", 1]) == "a, 1"
    root = Path(__file__).parents[2]
    joined = {
        f"{file.relative_to(root)}:{part.lineno} {ast.unparse(part.args[0])}"
        for package in ("emt_core", "emt_tasks", "judges", "finetune", "leaderboards")
        for file in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")
        for part in ast.walk(node)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "join"
        if isinstance(part.func.value, ast.Constant) and part.func.value.value == ", "
        if ast.unparse(part.args[0]) not in ALWAYS_SOME
    }
    assert not joined
