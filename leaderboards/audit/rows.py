"""The file of an audit: one pair of answers a line, with the labels that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emt_core.errors import UserError, list_faults
from emt_core.files import dump_row, read_rows, replacing

PEOPLE = "people"

Kind = Literal["differ", "agree"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class ImageReference(BaseModel):
    """Where a document's image stands: a row of a parquet file."""

    model_config = ConfigDict(extra="forbid")

    file: str
    row: int = Field(ge=0)


class Labels(BaseModel):
    """An LLM's opinion of both answers; None where it gave none."""

    model_config = ConfigDict(extra="forbid")

    judge: str
    first_correct: bool | None
    second_correct: bool | None


class AuditRow(BaseModel):
    """One pair of answers to one question.

    Which of them is the base's is drawn for each line; `order` says it, as a hash that says nothing to who labels.
    `stratum` is "differ" where the two verdicts do, else "agree"; `population` counts the task's pairs of that kind,
    `drawn` those in the file. People set `first_correct` and `second_correct`; an LLM's labels stand apart, in `llm`.
    """

    model_config = ConfigDict(extra="forbid")

    task: str
    doc_id: int
    question: str
    target: str
    first: str
    second: str
    first_correct: bool | None = Field(default=None, strict=True)
    second_correct: bool | None = Field(default=None, strict=True)
    image: ImageReference | str
    stratum: Kind
    population: int = Field(ge=1)
    drawn: int = Field(ge=1)
    order: str = Field(pattern="^[0-9a-f]{16}$")
    judge_target: dict[str, Any] | None = None
    llm: Labels | None = None

    @property
    def base_first(self) -> bool:
        """Whether the first answer is the base's."""
        return int(self.order, 16) % 2 == 0

    @property
    def labels(self) -> tuple[bool, bool, str] | None:
        """Whether base and candidate are right, and who says so: people where they do, else an LLM."""
        for by, labels in ((PEOPLE, self), (self.llm.judge if self.llm else "", self.llm)):
            if labels is not None and labels.first_correct is not None and labels.second_correct is not None:
                pair = (labels.first_correct, labels.second_correct)
                return (*(pair if self.base_first else pair[::-1]), by)
        return None


def read_audit(path: Path) -> list[AuditRow]:
    """Read an audit's file.

    Raises:
        UserError: a line is no row of an audit, or a document stands there twice.
    """
    rows: dict[tuple[str, int], AuditRow] = {}
    for where, data in read_rows(path):
        try:
            row = AuditRow.model_validate(data)
        except ValidationError as error:
            fault = list_faults(error.errors(), lambda _: AuditRow.model_fields)[0]
            raise UserError(f"{where}: {fault}; expected a line of emt audit sample") from error
        if (row.task, row.doc_id) in rows:
            raise UserError(f"{where}: doc_id {row.doc_id} of task {row.task} stands there twice; remove one of them")
        rows[row.task, row.doc_id] = row
    if not rows:
        raise UserError(f"{path}: holds no rows; expected a file of emt audit sample")
    return list(rows.values())


def write_audit(path: Path, rows: Sequence[AuditRow]) -> None:
    """Write an audit's file, whole or not at all; what was there is replaced."""
    with replacing([path]) as (partial,), partial.open("wb") as file:
        for row in rows:
            file.write(dump_row(row.model_dump()))
