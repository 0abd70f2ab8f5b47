"""Our tasks and groups as their YAML files declare them, read without lmms-eval.

`entries` is what `emt tasks` lists, and what `emt data` and the checks before a run go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from emt_core.errors import UserError

FOLDER = Path(__file__).parent
_SOURCE = re.compile(r"emt_tasks\.tasks\.hooks\.(\w+)_path")


@dataclass(frozen=True, slots=True)
class Entry:
    """A task, with the name of its data set, or a group, with the names of its members."""

    name: str
    file: Path
    summary: str
    version: str
    members: tuple[str, ...] = ()
    source: str | None = None


class _Loader(yaml.SafeLoader):
    """Reads `!function a.b.c` as the text `a.b.c`."""


def _dotted_name(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("!function", _dotted_name)


@cache
def entries() -> dict[str, Entry]:
    """Return every task and group of ours by name."""
    files = sorted(FOLDER.rglob("*.yaml"))
    found = (_entry(file) for file in files if not file.name.startswith("_"))
    return {entry.name: entry for entry in found}


def tasks(names: Iterable[str]) -> list[Entry]:
    """Return the tasks among these names, groups resolved to their tasks, in order and once each.

    Names that are not ours are left out.
    """
    found: dict[str, Entry] = {}
    for name in names:
        entry = entries().get(name)
        if entry is None:
            continue
        for task in tasks(entry.members) if entry.members else [entry]:
            found.setdefault(task.name, task)
    return list(found.values())


def load(file: Path) -> dict[str, Any]:
    """Read a task's YAML with all that it includes; functions stay as their dotted names."""
    config: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    included = config.pop("include", [])
    merged: dict[str, Any] = {}
    for name in reversed([included] if isinstance(included, str) else included):
        merged |= load(file.parent / name)
    return merged | config


def _entry(file: Path) -> Entry:
    config = load(file)
    version = str(config["metadata"]["version"])
    summary = _summary(file)
    if "group" in config:
        return Entry(config["group"], file, summary, version, members=tuple(config["task"]))
    source = _SOURCE.fullmatch(config["dataset_path"])
    if source is None:
        raise UserError(f"{file}: dataset_path is {config['dataset_path']!r}, expected emt_tasks.tasks.hooks.NAME_path")
    return Entry(config["task"], file, summary, version, source=source[1])


def _summary(file: Path) -> str:
    """The file's leading comment, else that of the first file that it includes."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    if first.startswith("# "):
        return first.removeprefix("# ")
    included = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)["include"]
    return _summary(file.parent / (included if isinstance(included, str) else included[0]))
