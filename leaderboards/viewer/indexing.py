"""Makes the indexes of checks one after the other, in a thread of its own, while the page is served."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread

from emt_core.errors import UserError, one_line
from emt_core.files import read_rows
from emt_core.runs import Run, Task, read_run
from leaderboards.viewer.browsing import Samples
from leaderboards.viewer.finding import Check
from leaderboards.viewer.index import Indexed, drop_old, index_folder, make_index, open_index

_FRESH = 3.0
"""Seconds for which the runs of a check are not read again."""


@dataclass
class Opened:
    """A check's samples as far as they are indexed.

    Attributes:
        folder: its index.
        base: the base's tasks by name, of which the images are.
        waiting: tasks that are not indexed yet, in order.
        tasks: those that are.
        failed: why a task, or with the key "" the check, cannot be shown.
        samples: of the indexed tasks.
    """

    folder: Path
    base: dict[str, Task] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    tasks: list[Indexed] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    samples: Samples = field(default_factory=lambda: Samples([]))


class Indexes:
    """The indexes of the checks that are looked at; `told` hears of each task before it is read."""

    def __init__(self, told: Callable[[str], None] = lambda _task: None) -> None:
        self._told = told
        self._opened: dict[str, Opened] = {}
        self._work: queue.SimpleQueue[tuple[Opened, Task, Task | None, Path | None]] = queue.SimpleQueue()
        self._looked: dict[str, tuple[float, Check]] = {}
        self._lock = Lock()
        Thread(target=self._run, daemon=True).start()

    def open(self, check: Check) -> Opened:
        """Return what there is of a check's index, and see to it that the rest is made."""
        with self._lock:
            looked, before = self._looked.get(check.name, (0.0, None))
            if before == check and time.monotonic() - looked < _FRESH:
                return self._opened[check.name]
            try:
                runs = [read_run(model.folder) for model in check.models if model.finished]
                opened = self._open(check, runs) if runs else Opened(Path())
                self._opened[check.name], self._looked[check.name] = opened, (time.monotonic(), check)
                return opened
            except (UserError, OSError) as error:
                return Opened(Path(), failed={"": one_line(error)})

    def _open(self, check: Check, runs: list[Run]) -> Opened:
        # The candidate alone is shown like a base alone: there is nothing to compare it with yet.
        base, candidate = runs[0], runs[1] if len(runs) > 1 else None
        names = [task for task in base.tasks if candidate is None or task in candidate.tasks]
        causes = check.causes if candidate else None
        pairs = {name: (base.tasks[name], candidate.tasks[name] if candidate else None) for name in names}
        sources = [task.samples for pair in pairs.values() for task in pair if task]
        folder = index_folder([*sources, *([causes] if causes else [])])
        if (known := self._opened.get(check.name)) and known.folder == folder:
            return known
        drop_old(folder)
        opened = Opened(folder, {name: pair[0] for name, pair in pairs.items()})
        if not names:
            opened.failed[""] = "the two runs share no task"
        for name, pair in pairs.items():
            if (found := open_index(folder, name)) is not None:
                opened.tasks.append(found)
            else:
                opened.waiting.append(name)
                self._work.put((opened, *pair, causes))
        opened.samples = Samples(opened.tasks)
        return opened

    def _run(self) -> None:
        while True:
            opened, base, candidate, causes = self._work.get()
            self._told(base.name)
            try:
                found = make_index(opened.folder, base, candidate, _causes(causes, base.name))
                opened.tasks = [*opened.tasks, found]
                opened.samples = Samples(opened.tasks)
            except (UserError, OSError) as error:
                opened.failed[base.name] = one_line(error)
            finally:
                opened.waiting.remove(base.name)


def _causes(file: Path | None, task: str) -> dict[int, str]:
    if file is None:
        return {}
    return {row["doc_id"]: str(row["cause"]) for _, row in read_rows(file) if row.get("task") == task}
