"""The published rows of the leaderboard: each encoder with the MLLMs that are built on it, and their gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from leaderboards.published import Publication, PublishedRow
from leaderboards.report.text import printable
from leaderboards.site.rows import Block, Citation, ModelRow, RateCell, task_column
from leaderboards.statistics import Interval

_ROLES = {"encoder": "vision encoder", "mllm": "MLLM"}


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
            members.sort(key=lambda row, lead=lead: row.model != lead)  # type: ignore[misc]
            blocks.append(Block(printable(heading), tuple(_row(paper, row, encoder) for row in members)))
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
