"""The results file of lmms-eval, checked: every field that this project reads has the type that it is read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emt_core.errors import UserError, list_faults, one_line

_DEEPEST = 100
"""Levels of nesting that lmms-eval never comes near; far deeper, and Python's own JSON gives up."""

_Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]{1,200}$")]
_Key = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class LookRecord(_Checked):
    """Where a task of a sequential check stands, as `emt_core.looks.Look` has it."""

    number: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(le=100)]
    documents: Annotated[int, Field(ge=1)]
    most: Annotated[int, Field(le=10**12)]

    @model_validator(mode="after")
    def _in_range(self) -> LookRecord:
        if self.number > self.of or self.documents > self.most:
            raise ValueError(f"look {self.number} of {self.of}, {self.documents} of {self.most} documents")
        return self


class Counts(_Checked):
    """A task's documents before and after the limit; `look` is ours, of a task that may have ended early."""

    original: Annotated[int, Field(ge=0, le=10**12)] | None = None
    effective: Annotated[int, Field(ge=0, le=10**12)] | None = None
    look: LookRecord | None = None


class TaskConfig(_Checked):
    """What is read of a task's resolved YAML; lmms-eval keeps the rest of it too.

    `metadata` is a list in some of its own tasks: those say nothing that we read.
    """

    dataset_kwargs: dict[str, Any] | None = None
    generation_kwargs: dict[str, Any] | None = None
    metadata: dict[str, Any] | list[Any] | None = None
    score_key: _Key | None = None
    cluster_key: _Key | None = None


class Settings(_Checked):
    """What the run was asked for, whatever lmms-eval's command line called it."""

    model: str | None = None
    model_args: str | dict[str, Any] | None = None
    limit: float | None = Field(None, allow_inf_nan=False)
    offset: int | None = None
    resolved_cli_args: dict[str, Any] | None = None


class Results(_Checked):
    """A results file. `results` also has an entry for each group, `group_subtasks` may have one for each task."""

    results: dict[_Name, dict[str, Any]] = Field(min_length=1)
    configs: dict[_Name, TaskConfig] | None = None
    group_subtasks: dict[str, list[str] | None] | None = None
    versions: dict[str, str | int | float | None] | None = None
    higher_is_better: dict[str, dict[str, bool | None] | None] | None = None
    n_samples: dict[str, Counts | None] | None = Field(None, alias="n-samples")
    config: Settings | None = None
    date: str | None = None
    lmms_eval_version: str | None = None
    model_name: str | None = None
    model_name_sanitized: str | None = None


def read_results(file: Path) -> tuple[Results, dict[str, Any]]:
    """Read a results file; returns it checked, and the raw JSON.

    Raises:
        UserError: it is not JSON, or a field has another type than expected.
    """
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair could be printed nowhere
    except (ValueError, OSError) as error:
        raise UserError(f"{file} cannot be read as JSON: {one_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"{file} is nested too deeply to be read: expected a results file of lmms-eval") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("results"), dict) or not raw["results"]:
        raise UserError(f"{file} holds no results: expected the key 'results' with an entry for each task")
    if _depth_exceeds(raw, _DEEPEST):
        raise UserError(f"{file} is nested more than {_DEEPEST} deep: expected a results file of lmms-eval")
    try:
        return Results.model_validate(raw), raw
    except ValidationError as error:
        faults = list_faults(error.errors(), lambda _place: ())
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"{file}: {faults[0]}{more}; expected what lmms-eval writes: run it again") from error


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
