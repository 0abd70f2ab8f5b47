"""`--tasks auto`: the tasks whose data is at hand or free to download, and those that are left out for lack of it.

They are the tasks of the 2×2 matrix. Where data of some is missing, the tasks of EMT come with the others: their data
needs no licence, save miniImageNet's.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from emt_core.errors import UserError
from emt_tasks.datasets import catalog
from emt_tasks.datasets.checks import Availability, availability
from emt_tasks.tasks import registry
from emt_tasks.tasks.registry import Entry

AUTO = "auto"

MATRIX = "forgetting_matrix_lite"
"""What `auto` covers if it can."""

OTHERS = "emt_lite"
"""What it adds where it cannot."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A task without data, and what to do about that."""

    task: Entry
    remedy: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tasks that can be evaluated, and those of the matrix that cannot."""

    tasks: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What to evaluate: the matrix as a whole, or single tasks."""
        return tuple(task.name for task in self.tasks) if self.left_out else (MATRIX,)


def choose() -> Chosen:
    """Look for the data of all tasks, and return those that can be evaluated now.

    Raises:
        UserError: none can, or a file is here and broken: that is not left out, but told.
    """
    matrix = registry.tasks([MATRIX])
    found = _look(matrix)
    left_out = tuple(LeftOut(task, remedy) for task in matrix if (remedy := _lacking(found[str(task.dataset)])))
    kept = _without(matrix, left_out)
    if left_out:
        others = registry.tasks([OTHERS])
        found = _look(others)
        kept += [task for task in others if not _lacking(found[str(task.dataset)])]
    if not kept:
        first = left_out[0]
        raise UserError(
            f"--tasks {AUTO}: no task has its data, such as {first.task.dataset} ({first.remedy}); "
            "see: emt data list; without any data: emt demo"
        )
    return Chosen(tuple(kept), left_out)


def _look(tasks: Iterable[Entry]) -> dict[str, Availability]:
    """Look for each data set once, side by side: the hub takes its time."""
    names = list(dict.fromkeys(str(task.dataset) for task in tasks))
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        found = dict(zip(names, pool.map(lambda name: availability(catalog.get(name)), names), strict=True))
    broken = next((one for one in found.values() if one.broken), None)
    if broken is not None:
        raise UserError(str(broken.problem))
    return found


def _lacking(found: Availability) -> str | None:
    """Return what to do about a data set's absence; None if it can be used without asking anybody.

    One whose terms the hub does not ask for is only used where somebody has put it on this machine.
    """
    if found.problem is not None or (found.dataset.accept and not found.dataset.gated and not found.at_hand):
        return found.dataset.remedy(found.obstacle)
    return None


def _without(tasks: list[Entry], left_out: Iterable[LeftOut]) -> list[Entry]:
    names = {one.task.name for one in left_out}
    return [task for task in tasks if task.name not in names]
