"""Faults of pydantic models, one line each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from emt_core.errors import list_faults


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
