"""Our tasks and groups as their YAML files declare them, read without lmms-eval.

`entries` is what `emt tasks` lists, and what `emt data` and the checks before a run use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from emt_core.errors import UserError
from emt_core.files import read_yaml
from emt_tasks.datasets import catalog, include
from emt_tasks.datasets.catalog import Dataset

FOLDER = Path(__file__).parent
_DATASET = re.compile(r"emt_tasks\.tasks\.hooks\.(\w+)_path")


@dataclass(frozen=True, slots=True)
class Entry:
    """A task, with its data set's name and its quadrant if it has one, or a group with its members' names."""

    name: str
    file: Path
    summary: str
    version: str
    members: tuple[str, ...] = ()
    dataset: str | None = None
    quadrant: str | None = None


class _Loader(yaml.SafeLoader):
    """Reads `!function a.b.c` as the text `a.b.c`."""


def _dotted_name(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("!function", _dotted_name)


def folders() -> tuple[Path, ...]:
    """Return the folders with tasks: ours, then the user's."""
    return (FOLDER, *include.folders())


def entries() -> dict[str, Entry]:
    """Return every task and group by name, ours and the user's.

    Raises:
        UserError: a user's file is invalid, or has the name of another task.
    """
    return _entries(folders(), include.generation)


@cache
def _entries(folders: tuple[Path, ...], _generation: int) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            if file.name.startswith("_") or file.name == include.FILE:
                continue
            entry = _entry(file)
            if entry.name in found:
                raise UserError(f"{file}: task {entry.name!r} is already in {found[entry.name].file}; rename it")
            found[entry.name] = entry
    return found


def tasks(names: Iterable[str]) -> list[Entry]:
    """Return the tasks among these names, groups expanded to their tasks, in order and once each.

    Unknown names are left out.
    """
    found: dict[str, Entry] = {}
    for name in names:
        entry = entries().get(name)
        if entry is None:
            continue
        for task in tasks(entry.members) if entry.members else [entry]:
            found.setdefault(task.name, task)
    return list(found.values())


def dataset_of(task: str) -> Dataset | None:
    """Return the data set of a task, or the one that a name such as timm/mini-imagenet refers to; None for neither."""
    row = catalog.find(task)
    entry = None if row else entries().get(task)
    return catalog.get(entry.dataset) if entry and entry.dataset else row


def load(file: Path) -> dict[str, Any]:
    """Read a task's YAML with all that it includes; functions become their dotted names.

    Raises:
        UserError: the file cannot be read, or is not a mapping.
    """
    config = read_yaml(file, _Loader)
    if not isinstance(config, dict):
        raise UserError(f"{file}: expected an lmms-eval task or group")
    included = config.pop("include", [])
    merged: dict[str, Any] = {}
    for name in reversed([included] if isinstance(included, str) else included):
        merged |= load(file.parent / name)
    return merged | config


def _entry(file: Path) -> Entry:
    config = load(file)
    metadata = config.get("metadata") or {}
    about = partial(Entry, file=file, summary=_summary(file), version=str(metadata.get("version", "")))
    if "group" in config:
        return about(config["group"], members=tuple(config.get("task") or ()))
    if "task" not in config:
        raise UserError(f"{file}: neither a task nor a group; the name of a file to include begins with _")
    path = str(config.get("dataset_path"))
    found = _DATASET.fullmatch(path)
    if found is None and FOLDER in file.parents:
        raise UserError(f"{file}: dataset_path is {path!r}, expected emt_tasks.tasks.hooks.NAME_path")
    dataset = catalog.get(found[1]).name if found else None
    return about(config["task"], dataset=dataset, quadrant=metadata.get("quadrant"))


def _summary(file: Path) -> str:
    """The file's leading comment, else that of the first file that it includes; empty if there is neither."""
    text = file.read_text(encoding="utf-8")
    if text.startswith("# "):
        return text.splitlines()[0].removeprefix("# ")
    included = yaml.load(text, Loader=_Loader).get("include")
    if not included:
        return ""
    return _summary(file.parent / (included if isinstance(included, str) else included[0]))
