"""A table that names image files, one row per image or question, as JSON lines or CSV: what users have."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, listed, one_line
from emt_core.files import Row, read_rows
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.labels import class_indices
from emt_tasks.datasets.prepare.folders import class_folders
from emt_tasks.datasets.prepare.labelled import label_features
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split

SPLITS = ("train", "validation", "test")
_SUFFIXES = (".jsonl", ".csv")


def preparation(dataset: Dataset) -> Preparation:
    """The layouts that any data set may have: a table; for labelled images also class folders."""
    table = Layout("table", _expected(dataset), partial(_find, dataset))
    if dataset.kind == "classification":
        return Preparation(partial(label_features, dataset), (class_folders(dataset), table))
    return Preparation(partial(_features, dataset), (table,))


def _expected(dataset: Dataset) -> str:
    columns = " and ".join(dict.fromkeys(dataset.columns.roles().values()))
    return (
        f"{dataset.split}.jsonl or {dataset.split}.csv with {columns}, where {dataset.columns.image} is a file's path"
    )


def _features(dataset: Dataset) -> Any:
    from datasets import Features, Image, Value

    roles = dataset.columns.roles()
    texts = {name: Value("string") for role, name in roles.items() if role != "image"}
    return Features({roles["image"]: Image(), **texts})


def _find(dataset: Dataset, copy: DiskCopy) -> Found | None:
    if copy.path.is_file():
        if copy.path.suffix not in _SUFFIXES:
            return None
        split = copy.split or (copy.path.stem if copy.path.stem in SPLITS else dataset.split)
        return Found(f"a table, {copy.path}", {split: partial(_read, dataset, copy.path)})
    files = {
        split: file for split in SPLITS for suffix in _SUFFIXES if (file := copy.path / f"{split}{suffix}").is_file()
    }
    if not files:
        return None
    what = f"tables, {', '.join(str(file) for file in files.values())}"
    return Found(what, {split: partial(_read, dataset, file) for split, file in files.items()})


def _read(dataset: Dataset, file: Path) -> Split:
    columns = {role: name for role, name in dataset.columns.roles().items() if role != "image"}
    rows = _csv(file) if file.suffix == ".csv" else read_rows(file)
    wanted = [dataset.columns.image, *columns.values()]
    named = [_fields(row, wanted, where) for where, row in rows]
    if dataset.kind == "classification":
        label = columns["label"]
        indices = class_indices([row[label] for row in named], None, vocabularies.of(dataset), f"{file}: {label}")
        named = [row | {label: index} for row, index in zip(named, indices, strict=True)]
    examples, missing = [], []
    for row in named:
        image = file.parent / str(row.pop(dataset.columns.image))
        if image.is_file():
            examples.append(PreparedRow(image, image.name, row))
        else:
            missing.append(str(image))
    return Split(examples, len(examples), missing)


def _csv(file: Path) -> Iterator[tuple[str, Row]]:
    """Yield the position of each row, as `read_rows` does for JSON lines."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            for row in reader:
                yield f"{file}:{reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as CSV: {one_line(error)}") from error


def _fields(row: Mapping[str, Any], names: list[str], where: str) -> dict[str, Any]:
    """Return the fields that a row must have, as strings."""
    for name in names:
        if not isinstance(row.get(name), str | int) or isinstance(row[name], bool):
            found = repr(row[name])[:60] if name in row else listed(row)
            raise UserError(f"{where}: expected a text for {name!r}, found {found}")
    return {name: str(row[name]) for name in names}
