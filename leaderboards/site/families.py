"""Which family a task is in: the leaderboard shows one family of tasks at a time.

A task of a paper whose results are shown is in that paper's family, one with a quadrant in the matrix, any other in
the largest group of lmms-eval that a run has it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from leaderboards.comparison.matrix import plain
from leaderboards.comparison.summary import RunSummary
from leaderboards.published import Publication

MATRIX = "Forgetting matrix"
"""The family of the quadrants and their tasks."""

OTHER = "Other tasks"
"""The family of tasks that are in no other."""


def families_of(runs: Sequence[RunSummary], publications: Iterable[Publication]) -> dict[str, str]:
    """Return the family of each task of the runs and the publications, by the task's name."""
    papers = {task: paper.short for paper in publications for row in paper.rows() for task in row.accuracy}
    quadrants = {
        task.task.name for run in runs for task in run.tasks if task.quadrant or task.task.metadata.get("quadrant")
    }
    groups: dict[str, tuple[str, ...]] = {}
    for run in runs:
        groups |= {
            name: members for name, members in run.run.groups.items() if len(members) > len(groups.get(name, ()))
        }
    named = dict.fromkeys(task.task.name for run in runs for task in run.tasks)
    return papers | {name: _family(name, papers, quadrants, groups) for name in named}


def _family(task: str, papers: Mapping[str, str], quadrants: set[str], groups: Mapping[str, tuple[str, ...]]) -> str:
    if (paper := papers.get(plain(task))) is not None:
        return paper
    if task in quadrants:
        return MATRIX
    around = [(len(members), name) for name, members in groups.items() if task in members]
    if not around:
        return OTHER
    size, group = max(around)
    # A task beside the matrix, such as the distractor's, is in its group and in no quadrant.
    return MATRIX if 2 * len(quadrants.intersection(groups[group])) > size else group
