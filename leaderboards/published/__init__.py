"""Results printed in papers, to show beside a user's own: `read_publications`.

Numbers are the papers', in percent, with the table that they come from; no interval is invented for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_FILES = ("emt.json", "forgetting_matrix.json", "new_skills.json")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of one table: a model, and its accuracy in percent by task.

    `checkpoint` is the paper's own name for it where that differs; `base` the model that it was fine-tuned from, on
    `finetuned_on`, and `encoder` the vision encoder that it is built on, both as this table or another names them.
    """

    model: str
    role: Literal["mllm", "encoder"]
    table: int
    accuracy: Mapping[str, float]
    checkpoint: str | None = None
    base: str | None = None
    encoder: str | None = None
    finetuned_on: str | None = None
    method: str | None = None
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of a paper; `scored_by` says how its accuracies were obtained."""

    number: int
    subject: str
    scored_by: str
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True, slots=True)
class PublishedChange:
    """What fine-tuning did, in points: on the tasks that it was for, and on others, by what was trained."""

    trained: str
    learned: float
    held_out: float


@dataclass(frozen=True, slots=True)
class Publication:
    """One paper; `short` is what a table calls it, `note` says what its numbers are, or why there are none."""

    title: str
    short: str
    arxiv: str
    note: str
    tables: tuple[PublishedTable, ...]
    changes: tuple[PublishedChange, ...] = ()

    @property
    def url(self) -> str:
        """Where the paper is."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    def rows(self) -> Iterator[PublishedRow]:
        """Yield the rows of all tables, except those that repeat an earlier table's row."""
        seen = set()
        for table in self.tables:
            for row in table.rows:
                key = (row.model, *sorted(row.accuracy.items()))
                if key not in seen:
                    seen.add(key)
                    yield row


def read_publications() -> tuple[Publication, ...]:
    """Return the papers whose results are shipped, or known to print none."""
    return tuple(_publication(json.loads((Path(__file__).parent / name).read_text("utf-8"))) for name in _FILES)


def _publication(data: Mapping[str, Any]) -> Publication:
    tables = tuple(
        PublishedTable(
            table["number"],
            table["subject"],
            table["scored_by"],
            tuple(PublishedRow(table=table["number"], **row) for row in table["rows"]),
        )
        for table in data["tables"]
    )
    changes = tuple(PublishedChange(**change) for change in data.get("changes", ()))
    return Publication(data["title"], data["short"], data["arxiv"], data["note"], tables, changes)
