"""A check that may end early: which look each task of a candidate must have, by what its run and the base's say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, listed
from emt_core.looks import LOOKS
from emt_core.runs import is_run, read_run
from emt_tasks.tasks import registry
from emt_tasks.tasks.documents import LITE_SIZE

if TYPE_CHECKING:
    from leaderboards.gate.decide import GateResult

CAP = 2000
"""Documents of each task that a sequential check asks about at most, unless told otherwise."""

Numbers = Mapping[str, int]
"""Task: the number of its look."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a sequential check decides: at most `cap` documents a task, and the gate's own settings.

    `policy` holds what is set in it; the others are as `comparison.forgetting.compare` takes them.
    """

    cap: int
    policy: Mapping[str, Any]
    matrix: Mapping[str, tuple[str, ...]] | None
    metrics: Mapping[str, str]
    allow: Sequence[str]

    def decide(self, base: Path, candidate: Path) -> GateResult:
        """Return the gate's result on two runs as they are now."""
        # Imported here, since polars and scipy take a second to load.
        from leaderboards.comparison.forgetting import compare
        from leaderboards.gate.decide import decide
        from leaderboards.gate.policy import Policy

        found = compare(read_run(base), read_run(candidate), matrix=self.matrix, metrics=self.metrics, allow=self.allow)
        return decide(found, Policy(**self.policy))


def check_cap(cap: int, names: Iterable[str]) -> None:
    """Refuse a cap that these tasks cannot use up: it would buy no power.

    Raises:
        UserError: names the tasks.
    """
    small = [
        task.name
        for task in registry.tasks(names)
        if cap > LITE_SIZE and str(registry.load(task.file).get("process_docs")).endswith("_documents_lite")
    ]
    if small:
        raise UserError(
            f"--cap {cap:,}: {listed(small)} have {LITE_SIZE:,} documents at most; name the whole tasks, such as "
            f"--tasks {small[0].removesuffix('_lite')}"
        )


def next_looks(base: Path, candidate: Path, rules: Rules) -> Numbers | None:
    """Return which look each task of a candidate must have next, all the first if it has no run; None at the end."""
    from leaderboards.gate.sequential import going_on

    if not is_run(candidate):
        return {}
    more = going_on(rules.decide(base, candidate))
    looks = looks_of(candidate)
    return looks | {task: min(looks[task] + 1, LOOKS) for task in more} if more else None


def looks_of(run: Path) -> dict[str, int]:
    """Return which look each task of a run has; those without are left out."""
    return {task.name: task.look.number for task in read_run(run).tasks.values() if task.look}


def looks_for_all(base: Path, asked: Iterable[Numbers]) -> Numbers | None:
    """Return which look each of the base's tasks must have for all candidates; None if it has them already."""
    if not is_run(base):
        return {}
    has = looks_of(base)
    wanted = dict(has)
    for numbers in asked:
        wanted |= {task: max(number, wanted.get(task, 0)) for task, number in numbers.items()}
    return wanted if wanted != has else None
