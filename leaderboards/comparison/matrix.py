"""The 2×2 of text and image, in and out of distribution: which task stands in which quadrant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from emt_core.errors import UserError, one_line

QUADRANTS = ("idt_idi", "idt_oodi", "oodt_idi", "oodt_oodi")
"""In-/out-of-distribution text × image, as arXiv 2603.14493 names them."""

DEFAULT_MATRIX: Mapping[str, tuple[str, ...]] = {
    "idt_idi": ("imagenet_vqa",),
    "idt_oodi": ("flowers102",),
    "oodt_idi": ("imagewikiqa",),
    "oodt_oodi": ("ocr_vqa",),
}
"""`imagewikiqa_distractor` asks `imagewikiqa`'s questions once more: it is compared, but outside the matrix."""

_VARIANTS = ("", "_lite", "_closed")


def read_matrix(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a custom matrix: a YAML file of the quadrants, each with a list of task names.

    Raises:
        UserError: the file is no such mapping, names an unknown quadrant or puts a task into two.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error)}") from error
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: expected the quadrants {', '.join(QUADRANTS)}, each with a list of tasks")
    matrix: dict[str, tuple[str, ...]] = {}
    for quadrant, tasks in data.items():
        if quadrant not in QUADRANTS:
            raise UserError(f"{path}: {quadrant!r} is no quadrant; expected {', '.join(QUADRANTS)}")
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise UserError(f"{path}: {quadrant}: expected a list of task names, found {tasks!r}")
        matrix[quadrant] = tuple(tasks)
    placed = [task for tasks in matrix.values() for task in tasks]
    twice = sorted({task for task in placed if placed.count(task) > 1})
    if twice:
        raise UserError(f"{path}: {twice[0]!r} stands in more than one place; a task belongs to one quadrant")
    return matrix


def place(tasks: Iterable[str], matrix: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, str]:
    """Return the quadrant of each task that has one, by the given matrix or the default one.

    A custom matrix is taken at its word. In the default one the `_lite` and `_closed` variants stand in for a task
    that was not run itself, so that no document counts twice.
    """
    present = set(tasks)
    if matrix is not None:
        return {task: quadrant for quadrant, members in matrix.items() for task in members if task in present}
    placed = {}
    for quadrant, members in DEFAULT_MATRIX.items():
        for member in members:
            variant = next((member + suffix for suffix in _VARIANTS if member + suffix in present), None)
            if variant is not None:
                placed[variant] = quadrant
    return placed
