"""How far an evaluation is: lmms-eval keeps each answer in a small database before it writes any sample."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

_LATELY = 60.0
"""Seconds over which the speed is measured."""

_ANSWERED = "SELECT task_name, COUNT(DISTINCT doc_id) FROM responses GROUP BY task_name"
_SPEED = "SELECT COUNT(*), MIN(created_at) FROM responses WHERE created_at > ?"
_ALL = "SELECT COUNT(*) FROM responses"


@dataclass(frozen=True, slots=True)
class Progress:
    """Documents answered in each task, and how many are answered a second of late; None if none were."""

    answered: Mapping[str, int]
    speed: float | None

    def left(self, documents: Mapping[str, int]) -> float | None:
        """Return the seconds that the documents still take at this speed; None where it is not known."""
        missing = sum(max(0, count - self.answered.get(task, 0)) for task, count in documents.items())
        return missing / self.speed if self.speed and documents else None


class Answers:
    """The answers in a run's cache; what has not changed is not counted again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, tuple[tuple[int, ...] | None, dict[str, int]]] = {}

    def progress(self) -> Progress:
        """Count them now."""
        # Of several caches, made with other weights or settings, the run uses one: the last that was written.
        caches = [cache for cache in self.folder.glob("cache/*") if cache.is_dir()]
        if not caches:
            return Progress({}, None)
        newest = max(caches, key=_written)
        # Each process writes a database of its own; at the end they are merged into the one above them.
        own = list(newest.glob("runs/*/rank_*.db"))
        counts = self._sum([newest / "cache.db"]), self._sum(own)
        answered = {task: max(count.get(task, 0) for count in counts) for task in {**counts[0], **counts[1]}}
        speeds = [speed for file in own if (speed := _speed(file)) is not None]
        return Progress(answered, sum(speeds) if speeds else None)

    def _sum(self, files: Iterable[Path]) -> dict[str, int]:
        total: dict[str, int] = {}
        for file in files:
            for task, count in self._count(file).items():
                total[task] = total.get(task, 0) + count
        return total

    def _count(self, file: Path) -> dict[str, int]:
        state = tuple(value for place in (file, file.with_name(file.name + "-wal")) for value in _state(place))
        known, counts = self._seen.get(file, (None, {}))
        if known != state:
            counts = {str(task): int(count) for task, count in _ask(file, _ANSWERED)}
            self._seen[file] = state, counts
        return counts


def _written(cache: Path) -> float:
    """Return when a cache was last written to."""
    return max((found.stat().st_mtime for found in cache.rglob("*.db*")), default=0.0)


def _state(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _speed(file: Path) -> float | None:
    """Return the documents answered a second, of late; a closed set's many answers are one document's."""
    now = time.time()
    lately = _ask(file, _SPEED, now - _LATELY)
    if not lately or not lately[0][0]:
        return None
    documents = sum(int(count) for _, count in _ask(file, _ANSWERED))
    a_document = _ask(file, _ALL)[0][0] / documents if documents else 1.0
    return float(lately[0][0] / a_document / max(now - lately[0][1], 1.0))


def _ask(file: Path, query: str, *values: float) -> list[Any]:
    """Return a query's rows; none where there is no database, or it cannot be read now."""
    if not file.is_file():
        return []
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True, timeout=1)
    except sqlite3.Error:
        return []
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
    finally:
        connection.close()
