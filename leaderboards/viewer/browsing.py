"""Filter an index's samples, and read the few that a page shows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emt_core.errors import UserError
from leaderboards.viewer.index import SIDES, Indexed

PAGE = 20
"""Samples a page."""

COLUMNS = (
    "task",
    "doc_id",
    "class",
    "change",
    "cause",
    "question",
    "target",
    "row",
    *(f"{side}_{field}" for side in SIDES for field in ("score", "category", "answer", "text", "reason", "judge")),
)
"""What there is to see and to download of each sample."""

_REMEMBERED = 16
"""Filters whose samples are remembered: four bytes a sample."""

Positions = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Filter:
    """What samples to show; an empty value shows all.

    `change` is lost, gained, changed (either), same, or one side (only one model was scored); `base` and `candidate`
    are categories; `text` occurs in the question, the right answer or an answer, whatever its case.
    """

    task: str = ""
    change: str = ""
    base: str = ""
    candidate: str = ""
    label: str = ""
    cause: str = ""
    text: str = ""
    doc: str = ""

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Filter:
        """Read a filter from an address's query, where `label` is `class`; what else is there is ignored."""
        names = {field.name: "class" if field.name == "label" else field.name for field in fields(cls)}
        return cls(**{name: values.get(given, "") for name, given in names.items()})

    def condition(self) -> pl.Expr | None:
        """Return what is true of the samples; None where it is true of all.

        Raises:
            UserError: the document is no number.
        """
        equal = {
            "base_category": self.base,
            "candidate_category": self.candidate,
            "class": self.label,
            "cause": self.cause,
        }
        parts = [pl.col(name) == value for name, value in equal.items() if value]
        if self.change:
            parts.append(pl.col("change").is_in(["lost", "gained"] if self.change == "changed" else [self.change]))
        if self.doc:
            if not (self.doc.removeprefix("-").isdecimal() and self.doc.isascii() and len(self.doc) < 19):
                raise UserError(f"doc {self.doc[:40]!r}: expected a document's number")
            parts.append(pl.col("doc_id") == int(self.doc))
        if words := self.text.strip():
            parts.append(pl.col("search").str.contains(words.lower(), literal=True))
        return pl.all_horizontal(parts) if parts else None


class Samples:
    """The samples of some tasks' indexes, one after the other; a sample's position is its place among them."""

    def __init__(self, tasks: Sequence[Indexed]) -> None:
        self.parts: list[Path] = [part for task in tasks for part in task.parts]
        self._files = [pq.ParquetFile(part, memory_map=True) for part in self.parts]
        sizes = [file.metadata.num_rows for file in self._files]
        self._starts = np.cumsum([0, *sizes])
        self.tasks = {task.facts.task: number for number, task in enumerate(tasks)}
        ends = np.cumsum([len(task.parts) for task in tasks])
        self._parts_of = {name: (int(ends[n]) - len(tasks[n].parts), int(ends[n])) for name, n in self.tasks.items()}
        self._found: OrderedDict[Filter, Positions] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def find(self, wanted: Filter) -> Positions:
        """Return the positions of the samples that a filter shows, in order.

        A text is searched for by itself: who changes the other fields meanwhile does not wait for it again.

        Raises:
            UserError: the filter cannot be used.
        """
        rest = replace(wanted, text="")
        if not wanted.text.strip():
            return self._remembered(rest)
        words = self._remembered(Filter(text=wanted.text))
        return words if rest == Filter() else np.intersect1d(words, self._remembered(rest), assume_unique=True)

    def _remembered(self, wanted: Filter) -> Positions:
        with self._lock:
            if wanted in self._found:
                self._found.move_to_end(wanted)
                return self._found[wanted]
        positions = self._scan(wanted)
        with self._lock:
            self._found[wanted] = positions
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return positions

    def read(self, positions: Positions, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """Return these samples, in order; reads no more than the row groups that they are in."""
        return [row for frame in self.batches(positions, columns) for row in frame.iter_rows(named=True)]

    def batches(self, positions: Positions, columns: Sequence[str] = COLUMNS) -> Iterator[pl.DataFrame]:
        """Yield these samples, in order, a row group at a time."""
        for number, file in enumerate(self._files):
            low, high = np.searchsorted(positions, self._starts[number : number + 2])
            local = positions[low:high].astype(np.int64) - self._starts[number]
            if not len(local):
                continue
            size = file.metadata.row_group(0).num_rows
            for group in np.unique(local // size):
                inside = local[local // size == group] - group * size
                with self._lock:
                    table = file.read_row_group(int(group), columns=list(columns))
                # By polars: pyarrow's own selection of rows would import pandas, which takes a second.
                yield pl.DataFrame(pl.from_arrow(table)).select(columns)[inside.tolist()]

    def _scan(self, wanted: Filter) -> Positions:
        first, last = self._parts_of.get(wanted.task, (0, 0)) if wanted.task else (0, len(self.parts))
        start, end = int(self._starts[first]), int(self._starts[last])
        condition = wanted.condition()
        if condition is None or start == end:
            return np.arange(start, end, dtype=np.uint32)
        scan = pl.scan_parquet(self.parts[first:last], row_index_name="position", glob=False)
        found = scan.filter(condition).select("position").collect(engine="streaming")
        positions: Positions = np.sort(found["position"].to_numpy()).astype(np.uint32) + np.uint32(start)
        return positions
