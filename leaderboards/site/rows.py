"""What a row of the leaderboard is made of, and the published rows: each encoder with the MLLMs built on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from leaderboards.gate.decide import Outcome
from leaderboards.published import Publication, PublishedRow
from leaderboards.report.text import printable
from leaderboards.report.view import QUADRANT_NAMES
from leaderboards.statistics import Interval

_ROLES = {"encoder": "vision encoder", "mllm": "MLLM"}


@dataclass(frozen=True, slots=True)
class Column:
    """One task or quadrant."""

    name: str
    title: str
    quadrant: bool


def task_column(task: str) -> Column:
    """Return a task's column."""
    return Column(task, printable(task), quadrant=False)


def quadrant_column(quadrant: str) -> Column:
    """Return a quadrant's column."""
    return Column(quadrant, printable(QUADRANT_NAMES[quadrant]), quadrant=True)


@dataclass(frozen=True, slots=True)
class RateCell:
    """One accuracy in percent. `rate` has no interval and an `n` of 0 if a paper gives none.

    `gap` is the encoder's accuracy minus this one in percentage points; None if there is no value to compare with.
    """

    rate: Interval
    unscored: int
    gap: Interval | None


@dataclass(frozen=True, slots=True)
class Link:
    """Where a run's report is, from the site's page, and what its gate said."""

    href: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a published row comes from."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model; a `source` marks it as published. `about` says in a few words what it is.

    `encoder` names the vision encoder that its gap is to, None if the model has no gap: it is itself an encoder, or no
    run of its encoder was given.
    """

    model: str
    about: str
    cells: Mapping[Column, RateCell]
    source: Citation | None = None
    link: Link | None = None
    encoder: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Models that stand together: the user's own, or an encoder with what is built on it."""

    heading: str
    rows: tuple[ModelRow, ...]
    own: bool = False

    def within(self, columns: Collection[Column]) -> Block:
        """Return the block with these columns only, and without the models that have no value in them."""
        wanted = set(columns)
        cut = [
            replace(row, cells={column: cell for column, cell in row.cells.items() if column in wanted})
            for row in self.rows
        ]
        return replace(self, rows=tuple(row for row in cut if row.cells))


def printed_blocks(publications: Iterable[Publication]) -> list[Block]:
    """Return a block for each encoder, with the MLLMs built on it or its own fine-tunes, in the papers' order."""
    blocks = []
    for paper in publications:
        rows: dict[str, list[PublishedRow]] = {}
        for row in paper.rows():
            rows.setdefault(row.encoder or row.base or row.model, []).append(row)
        for lead, members in rows.items():
            built = any(row.encoder for row in members)
            heading = f"{lead} and the MLLMs built on it" if built else f"{lead} and its fine-tunes"
            encoder = next((row for row in members if row.model == lead), None)
            ordered = [row for row in members if row is encoder] + [row for row in members if row is not encoder]
            blocks.append(Block(printable(heading), tuple(_row(paper, row, encoder) for row in ordered)))
    return blocks


def _row(paper: Publication, row: PublishedRow, encoder: PublishedRow | None) -> ModelRow:
    reference: Mapping[str, float] = encoder.accuracy if encoder and row.encoder else {}
    about = [_ROLES[row.role]]
    about += [f"on {row.encoder}"] if row.encoder else []
    return ModelRow(
        model=printable(row.model),
        about=printable(" ".join(about)),
        cells={
            task_column(task): RateCell(
                _printed(value), 0, _printed(reference[task] - value) if task in reference else None
            )
            for task, value in row.accuracy.items()
        },
        source=Citation(f"{paper.short}, table {row.table}", paper.url),
        encoder=row.encoder,
    )


def _printed(value: float) -> Interval:
    return Interval(value, None, None, 0, 0.95, "as printed")
