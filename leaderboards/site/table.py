"""The leaderboard: a table for each family of tasks, models down, the family's tasks and quadrants across.

In each table the user's own runs come first, then the published models, each encoder with the MLLMs built on it. A
model without a value in the family is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.comparison.summary import RunSummary
from leaderboards.published import Publication, read_publications
from leaderboards.report.text import printable
from leaderboards.site.families import MATRIX, families_of
from leaderboards.site.rows import Block, Column, Link, ModelRow, RateCell, printed_blocks, quadrant_column, task_column
from leaderboards.statistics import Interval


@dataclass(frozen=True, slots=True)
class OwnRun:
    """One of the user's runs; `gaps` is the encoder's accuracy minus its own, None if no encoder was given.

    `encoder` marks the run of the encoder itself.
    """

    label: str
    summary: RunSummary
    link: Link | None = None
    gaps: Mapping[Column, Interval | None] | None = None
    encoder: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """One family's table; `absent` are the user's runs without a value in it."""

    name: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    absent: tuple[str, ...]

    @property
    def models(self) -> int:
        """How many models the table shows."""
        return sum(len(block.rows) for block in self.blocks)

    @property
    def own(self) -> bool:
        """Whether one of the user's runs is in it."""
        return any(block.own for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Table:
    """The whole leaderboard; `publications` are the papers, including those without numbers."""

    families: tuple[Family, ...]
    publications: tuple[Publication, ...]
    gaps: bool


def make_table(runs: Sequence[OwnRun], *, published: bool = True) -> Table:
    """Return the leaderboard of the user's runs, in their order, and, if wanted, of the published results.

    Families with a run of the user's come first.
    """
    publications = read_publications() if published else ()
    blocks = [_own_block(runs), *printed_blocks(publications)]
    families = [_family(name, columns, blocks) for name, columns in _columns(runs, publications).items()]
    families.sort(key=lambda family: not family.own)
    gaps = any(row.encoder for block in blocks for row in block.rows)
    return Table(tuple(families), publications, gaps)


def _columns(runs: Sequence[OwnRun], publications: Sequence[Publication]) -> dict[str, list[Column]]:
    """Return each family's columns, quadrants first."""
    summaries = [run.summary for run in runs]
    present = {group.name for summary in summaries for group in summary.quadrants}
    columns: dict[str, list[Column]] = {}
    for name in QUADRANTS:
        if name in present:
            columns.setdefault(MATRIX, []).append(quadrant_column(name))
    for task, family in families_of(summaries, publications).items():
        columns.setdefault(family, []).append(task_column(task))
    return columns


def _family(name: str, columns: Sequence[Column], blocks: Sequence[Block]) -> Family:
    """Return a family's table, without the models and the columns that have no value in it."""
    shown = [block.within(columns) for block in blocks]
    known = {column for block in shown for row in block.rows for column in row.cells}
    absent = [
        row.model
        for block, kept in zip(blocks, shown, strict=True)
        for row in block.rows
        if block.own and row.model not in {each.model for each in kept.rows}
    ]
    used = tuple(column for column in columns if column in known)
    return Family(printable(name), used, tuple(block for block in shown if block.rows), tuple(absent))


def _own_block(runs: Sequence[OwnRun]) -> Block:
    encoder = next((run.label for run in runs if run.encoder), None)
    return Block("Your runs", tuple(_own_row(run, encoder) for run in runs), own=True)


def _own_row(run: OwnRun, encoder: str | None) -> ModelRow:
    gaps = run.gaps or {}
    rates = {task_column(task.task.name): (task.accuracy, task.unscored) for task in run.summary.tasks if task.accuracy}
    rates |= {quadrant_column(group.name): (group.accuracy, 0) for group in run.summary.quadrants}
    arguments = run.summary.run.model_args or run.summary.run.name
    return ModelRow(
        model=printable(run.label),
        about=printable(f"vision encoder, {arguments}" if run.encoder else arguments),
        cells={column: RateCell(rate, unscored, gaps.get(column)) for column, (rate, unscored) in rates.items()},
        link=run.link,
        encoder=None if run.encoder or run.gaps is None else encoder,
    )
