"""The 2×2 of text and image, in and out of distribution: which task is in which quadrant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from emt_core.errors import UserError
from emt_core.files import read_yaml
from emt_core.runs import Task

QUADRANTS = ("idt_idi", "idt_oodi", "oodt_idi", "oodt_oodi")
"""In-/out-of-distribution text × image, as arXiv 2603.14493 names them."""

_LISTED = ", ".join(QUADRANTS)

_VARIANTS = ("_lite", "_closed")
"""Suffixes of variants that ask the same as the plain task: the first one that was run counts for all."""


def read_matrix(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a custom matrix: a YAML file of the quadrants, each with a list of task names.

    Raises:
        UserError: the file is not such a mapping, names an unknown quadrant or puts a task into two.
    """
    data = read_yaml(path)
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: expected the quadrants {_LISTED}, each with a list of tasks")
    matrix: dict[str, tuple[str, ...]] = {}
    for quadrant, tasks in data.items():
        if quadrant not in QUADRANTS:
            raise UserError(f"{path}: {quadrant!r} is not a quadrant; expected {_LISTED}")
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise UserError(f"{path}: {quadrant}: expected a list of task names, found {tasks!r}")
        matrix[quadrant] = tuple(tasks)
    placed = [task for tasks in matrix.values() for task in tasks]
    twice = sorted({task for task in placed if placed.count(task) > 1})
    if twice:
        raise UserError(f"{path}: {twice[0]!r} appears more than once; a task belongs to one quadrant")
    return matrix


def place(tasks: Iterable[Task], matrix: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """Return the quadrant of each task that has one, by name: from the given matrix, else from the task itself.

    A task sets it in its YAML, as `metadata.quadrant`, and the run keeps it. A given matrix is used as is; without one,
    `_lite` and `_closed` variants stand in for a task that was not run itself, so that no document counts twice.

    Raises:
        UserError: a task names a quadrant that does not exist.
    """
    by_name = {task.name: task for task in tasks}
    if matrix is not None:
        return {task: quadrant for quadrant, members in matrix.items() for task in members if task in by_name}
    placed = {name: quadrant for name, task in by_name.items() if (quadrant := _declared(task))}
    return {name: quadrant for name, quadrant in placed.items() if not _stands_back(name, placed)}


def plain(task: str) -> str:
    """Return the name of the task that a variant stands in for: `emt_mnist` for `emt_mnist_lite`."""
    suffix = next((suffix for suffix in _VARIANTS if task.endswith(suffix)), "")
    return task.removesuffix(suffix)


def _declared(task: Task) -> str | None:
    quadrant = task.metadata.get("quadrant")
    if quadrant is not None and quadrant not in QUADRANTS:
        raise UserError(f"{task.shown}: task {task.name} names the quadrant {quadrant!r}; expected {_LISTED}")
    return quadrant


def _stands_back(name: str, placed: Mapping[str, str]) -> bool:
    """Whether an earlier variant of this task has a quadrant too."""
    suffix = next((suffix for suffix in _VARIANTS if name.endswith(suffix)), None)
    if suffix is None:
        return False
    earlier = ("", *_VARIANTS[: _VARIANTS.index(suffix)])
    return any(plain(name) + other in placed for other in earlier)
