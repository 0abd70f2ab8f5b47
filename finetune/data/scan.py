"""Read each row before training, in parallel: damaged images, missing files, texts that do not fit the model.

A fault that a run would meet after hours is known after minutes. Under `accelerate launch` each process reads a share
of the rows, and all learn of all faults.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from emt_core.errors import UserError
from emt_core.files import dump_row, read_rows
from emt_tasks.models.batching import prefetch
from finetune.data.conversations import TrainingExample
from finetune.data.sources import Subset, TrainingSource
from finetune.recipes.schema import Mixture

Size = tuple[int, int]
"""An image's width and height in pixels."""

Check = Callable[[TrainingExample, Sequence[Size]], None]
"""Raises a `UserError` for an example that cannot be trained on, given the sizes of its images if they were read."""

SKIPPED_FILE = "skipped.jsonl"

_AHEAD = 4
"""How many rows wait for each thread."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: the number of its source, its own, and why."""

    source: int
    row: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a scan found; `image_counts` are the numbers of images per example that occur."""

    bad: tuple[BadRow, ...]
    image_counts: frozenset[int]

    def write(self, folder: Path) -> None:
        """Write the rows that were left out, one on each line."""
        (folder / SKIPPED_FILE).write_bytes(b"".join(dump_row(asdict(row)) for row in self.bad))


def read_skipped(folder: Path) -> tuple[BadRow, ...]:
    """Return the rows that the run in a folder left out.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / SKIPPED_FILE
    return tuple(BadRow(**row) for _, row in read_rows(file)) if file.is_file() else ()


def scan(
    sources: Sequence[TrainingSource],
    mixture: Mixture,
    check: Check,
    *,
    rank: int = 0,
    processes: int = 1,
    gather: Callable[[list[Any]], list[Any]] = lambda items: items,
) -> Scan:
    """Read every row of the sources.

    Args:
        sources: the mixture's, opened.
        mixture: whether images are read too.
        check: what else an example must pass.
        rank: this process's rank.
        processes: how many there are.
        gather: returns the items of all processes.
    """
    rows = [(number, row) for number, source in enumerate(sources) for row in range(len(source))][rank::processes]

    def read(place: tuple[int, int]) -> tuple[TrainingExample, list[Size]] | UserError:
        number, row = place
        try:
            example = sources[number][row]
            images = example.load_images() if mixture.scan == "all" else []
        except UserError as error:
            return error
        return example, [image.size for image in images]

    bad: list[BadRow] = []
    counts: set[int] = set()
    console = Console(stderr=True)
    hidden = rank > 0 or not console.is_terminal
    workers = os.cpu_count() or 1
    ahead = prefetch(read, rows, depth=_AHEAD * workers, workers=workers)
    found = track(ahead, "reading the data", len(rows), console=console, transient=True, disable=hidden)
    for (number, row), read_row in zip(rows, found, strict=True):
        try:
            if isinstance(read_row, UserError):
                raise read_row
            check(*read_row)  # here and not in the threads: tokenizers are not safe to share
            counts.add(read_row[0].image_count)
        except UserError as error:
            bad.append(BadRow(number, row, str(error)))
    bad, counts = gather(bad), set(gather(sorted(counts)))
    return Scan(tuple(sorted(bad, key=lambda row: (row.source, row.row))), frozenset(counts))


def usable(
    sources: Sequence[TrainingSource], mixture: Mixture, bad: Sequence[BadRow], field: str = "mixture"
) -> list[TrainingSource]:
    """Return the sources without their bad rows; `field` is where the recipe names them.

    Raises:
        UserError: there are bad rows, and the mixture does not skip them; or a source has no others.
    """
    if bad and mixture.bad_rows == "fail":
        rows = sum(map(len, sources))
        more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"{field}: {len(bad):,} of {rows:,} rows cannot be used: "
            f"{'; '.join(row.reason for row in bad[:_SHOWN])}{more}. Fix them, or leave them out with "
            "mixture.bad_rows=skip"
        )
    kept: list[TrainingSource] = []
    for number, source in enumerate(sources):
        left_out = {row.row for row in bad if row.source == number}
        rest = [row for row in range(len(source)) if row not in left_out]
        if not rest:
            first = next(row.reason for row in bad if row.source == number)
            raise UserError(f"mixture: no row of {source.name} can be used; the first: {first}")
        kept.append(Subset(source, rest) if left_out else source)
    return kept


def describe_skipped(sources: Sequence[TrainingSource], bad: Sequence[BadRow]) -> str:
    """Return how many rows of which sources are left out."""
    counts = Counter(row.source for row in bad)
    return "left out: " + ", ".join(
        f"{counts[number]:,} of {len(source):,} rows of {source.name}"
        for number, source in enumerate(sources)
        if counts[number]
    )
