"""The documents of a look: the first ones of an order drawn at random, more at each look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emt_core.looks import Look
from emt_tasks.tasks.documents import random_order


@dataclass(frozen=True, slots=True)
class Looks:
    """Up to which look each task is asked, the first unless `numbers` says so, of at most `cap` documents in all."""

    cap: int
    numbers: Mapping[str, int] = field(default_factory=dict)

    def of(self, task: str, documents: int) -> tuple[Look, list[int]]:
        """Return where a task with so many documents stands, and the numbers of those that are asked about, sorted."""
        look = Look.at(self.numbers.get(task, 1), min(self.cap, documents))
        return look, sorted(random_order(task, documents)[: look.documents])
