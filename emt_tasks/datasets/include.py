"""The user's data sets and tasks: folders with a `datasets.yaml` and the tasks' YAML files.

$EMT_INCLUDE names the folders; `--include` adds to it, so that processes started by a command know them too. A
`datasets.yaml` maps names to rows:

    birds:
      kind: classification
      columns: {label: species}
      vocabulary: [robin, {carrion crow: [crow]}]
      question: "Which bird is in the photo? <image>"
      answer: "{label}"

The data is beside it, as birds/test.parquet, under $EMT_DATA_DIR, or on the hub. See docs/tutorials/your-data.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from emt_core.errors import UserError, list_faults, one_line
from emt_core.files import read_yaml
from judges import Vocabulary

if TYPE_CHECKING:
    from emt_tasks.datasets.catalog import Dataset, Kind

VARIABLE = "EMT_INCLUDE"
FILE = "datasets.yaml"

generation = 0
"""Rises with each call of `add`: part of the key of what is cached about these folders."""


def folders() -> tuple[Path, ...]:
    """Return the folders that $EMT_INCLUDE names as absolute paths, each once.

    Raises:
        UserError: one of them does not exist.
    """
    return _resolved(os.environ.get(VARIABLE, ""))


def contents() -> str | None:
    """Return a hash of the YAML files in these folders, which decide what is asked; None if there is no folder."""
    files = sorted(file for folder in folders() for file in folder.rglob("*.yaml"))
    if not files:
        return None
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def add(more: Iterable[str | Path]) -> None:
    """Add folders for this process and its children, and read them all again when they are next asked for.

    Raises:
        UserError: one of them does not exist.
    """
    global generation
    wanted = (os.environ.get(VARIABLE, ""), *map(str, more))
    os.environ[VARIABLE] = os.pathsep.join(map(str, _resolved(os.pathsep.join(filter(None, wanted)))))
    generation += 1


def read(folder: Path) -> list[Dataset]:
    """Read the rows of a folder's `datasets.yaml`; none if it has no such file.

    Raises:
        UserError: the file is not YAML, or a row is invalid.
    """
    file = folder / FILE
    if not file.is_file():
        return []
    data = read_yaml(file)
    if not isinstance(data, dict):
        raise UserError(f"{file}: expected a mapping of names to data sets, found {str(data)[:60]!r}")
    return [_row(file, str(name), fields) for name, fields in data.items()]


@cache
def _resolved(paths: str) -> tuple[Path, ...]:
    found = dict.fromkeys(Path(path).expanduser().resolve() for path in paths.split(os.pathsep) if path)
    for folder in found:
        if not folder.is_dir():
            raise UserError(f"--include: {folder} is not a folder; expected one with {FILE} and tasks in it")
    return tuple(found)


def _row(file: Path, name: str, fields: Any) -> Dataset:
    from emt_tasks.datasets.catalog import ROLES, Dataset

    where = f"{file}: {name}"
    if not name.replace("_", "").isalnum() or not name.isascii() or not name.islower():
        raise UserError(f"{where}: a data set's name may only have lower-case letters, digits and _")
    if not isinstance(fields, Mapping):
        raise UserError(f"{where}: expected a mapping of fields, found {str(fields)[:60]!r}")
    if missing := {"name", "folder", "preparation", "generator"} & set(fields):
        raise UserError(f"{where}: unknown key {sorted(missing)[0]}")
    columns = fields.get("columns") or {}
    if not isinstance(columns, Mapping):
        raise UserError(f"{where}: columns: expected roles with column names, found {columns!r}")
    given: dict[str, Any] = {"name": name, "folder": file.parent, **fields}
    # By default a column is named after its role.
    given["columns"] = {role: role for role in ROLES.get(cast("Kind", fields.get("kind")), ())} | dict(columns)
    if "vocabulary" in given:
        given["vocabulary"] = _vocabulary(given["vocabulary"], name, where, file.parent)
    try:
        return TypeAdapter(Dataset).validate_python(given)
    except ValidationError as error:
        known = Dataset.__dataclass_fields__
        raise UserError(f"{where}: {'; '.join(list_faults(error.errors(), lambda _: known))}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _vocabulary(given: Any, name: str, where: str, folder: Path) -> str | Vocabulary:
    """Return one of our vocabularies' names, or the vocabulary in a list or a JSON file."""
    if isinstance(given, str) and given.endswith(".json"):
        try:
            return Vocabulary.from_json({"name": name} | json.loads((folder / given).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where}: vocabulary {folder / given} cannot be read: {one_line(error)}") from error
    if isinstance(given, str):
        return given
    if not isinstance(given, Sequence) or not given:
        raise UserError(f"{where}: vocabulary: expected a list of classes, a JSON file or one of our names")
    labels = [_label(entry, where) for entry in given]
    names = [str(label["name"]).casefold() for label in labels]
    twice = sorted({label for label in names if names.count(label) > 1})
    if twice:
        raise UserError(f"{where}: vocabulary: {twice[0]!r} appears twice")
    return Vocabulary.from_json({"name": name, "labels": labels})


def _label(entry: Any, where: str) -> dict[str, Any]:
    """Read a class: its name, or its name with its synonyms."""
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((label, synonyms),) = entry.items()
        if isinstance(synonyms, Sequence) and not isinstance(synonyms, str):
            return {"name": str(label), "synonyms": [str(synonym) for synonym in synonyms]}
    elif isinstance(entry, str | int) and not isinstance(entry, bool):
        return {"name": str(entry)}
    raise UserError(f"{where}: vocabulary: expected a class or `class: [synonyms]`, found {entry!r}")
