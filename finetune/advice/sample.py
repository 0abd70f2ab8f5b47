"""A sample of a parquet file, read without the rest of it; and of training data, wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import catalog, vocabularies
from emt_tasks.tasks.hooks import task_of
from finetune.data.conversations import Format, TrainingExample, Turn, format_of
from finetune.data.sources import is_named, named_rows, open_source
from finetune.recipes.schema import SourceEntry

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS, IMAGES = 2000, 256
"""Rows of the training data that are read at most, and how many of their images are looked at."""

_WHOLE = 256 * 2**20
"""Bytes up to which a file is read whole, and the sample drawn from all of its rows."""


@dataclass(frozen=True)
class Training:
    """A sample of training data.

    Attributes:
        entry: what the recipe calls it.
        total: the number of all examples; None if it is not known.
        examples: the sampled ones; none if the data is not here.
        turns: their questions and answers, or what the catalog says that they are.
        classes: the data set's classes, if it is one with classes.
        bad: why rows cannot be used, one for each such row of the sample.
    """

    entry: SourceEntry
    total: int | None
    examples: Sequence[TrainingExample]
    turns: Sequence[Turn]
    classes: Sequence[str] = ()
    bad: Sequence[str] = ()


def sample_training(entry: SourceEntry, limit: int = TEXTS) -> Training:
    """Sample a source of training data.

    A data set of the catalog that is not on this machine is not downloaded: the catalog still knows what it asks.

    Raises:
        UserError: the source or its split is unknown, it cannot be read, or it has no row that can be used.
    """
    if is_named(entry.data):
        return _named(entry, limit)
    source = open_source(entry)
    examples: list[TrainingExample] = []
    bad: list[str] = []
    for index in drawn(len(source), limit):
        try:
            examples.append(source[index])
        except UserError as error:
            bad.append(str(error))
    if not examples:
        raise UserError(f"data={entry.data}: no row of {len(bad):,} can be used; the first: {bad[0]}")
    turns = [turn for example in examples for turn in example.turns]
    return Training(entry, len(source), examples, turns, bad=bad)


def _named(entry: SourceEntry, limit: int) -> Training:
    """Sample a data set of the catalog, or say what is known of it."""
    dataset = catalog.get(entry.data)
    classes = vocabularies.of(dataset).names if dataset.kind == "classification" else ()
    file = dataset.local_file(entry.split)
    if file is None or not file.is_file():
        rows = dataset.rows.get(entry.split)
        total = rows * dataset.asks_per_row if rows else None
        return Training(entry, total, (), _known_turns(format_of(dataset), classes), classes)
    table, rows = sampled_table(file, limit)
    documents = task_of(dataset).documents(table)
    found = named_rows(entry, documents)
    examples = [found[index] for index in drawn(len(found), limit)]
    total = round(rows * len(documents) / len(table))
    return Training(entry, total, examples, [turn for example in examples for turn in example.turns], classes)


def _known_turns(form: Format, classes: Sequence[str]) -> list[Turn]:
    """Return a turn for each class; none where the questions differ from row to row."""
    try:
        return [form({"label": name}, name) for name in classes]
    except UserError:  # it asks for another field of each row
        return []


def at_hand(name: str, split: str) -> Path | None:
    """Return the file of a data set's split if it is on this machine; the demo's is generated on first use."""
    dataset = catalog.get(name)
    try:
        file = dataset.local_file(split)
    except UserError:  # the demo has no such split
        return None
    return file if file is not None and file.is_file() else None


def sampled_table(file: Path, limit: int) -> tuple[Any, int]:
    """Return a sample of a parquet file as a `datasets.Dataset` with its own features, and the number of all rows.

    Raises:
        UserError: it is no parquet file, or it is empty.
    """
    import datasets
    from datasets.table import InMemoryTable

    table, rows = sampled_columns(file, limit, None)
    return datasets.Dataset(InMemoryTable(table)), rows


def sampled_columns(file: Path, limit: int, columns: Sequence[str] | None) -> tuple[pa.Table, int]:
    """Return some columns of a sample of a parquet file, and the number of all rows.

    Of a small file the sample is drawn from all rows; of a large one it is the first rows of some row groups, evenly
    spread.

    Raises:
        UserError: it is no parquet file, or it is empty.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        rows, groups = parquet.metadata.num_rows, parquet.metadata.num_row_groups
        if not rows:
            raise UserError(f"{file}: contains no rows")
        if file.stat().st_size <= _WHOLE:
            return parquet.read(columns=columns).take(drawn(rows, limit)), rows
        chosen = drawn(groups, limit)
        quota = -(-limit // len(chosen))
        batches = [next(parquet.iter_batches(quota, row_groups=[group], columns=columns)) for group in chosen]
        return pa.Table.from_batches(batches).slice(0, limit), rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: not a parquet file ({one_line(error)})") from error


def drawn(size: int, limit: int) -> list[int]:
    """Return up to `limit` of `size` indices, drawn at random, always the same ones; sorted."""
    if size <= limit:
        return list(range(size))
    return sorted(np.random.default_rng(0).choice(size, limit, replace=False).tolist())
