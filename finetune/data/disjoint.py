"""Prove that training and evaluation share no image: by the images' content, not by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from emt_tasks.datasets import catalog
from emt_tasks.tasks import registry
from finetune.data.images import fingerprint
from finetune.data.sources import TrainingSource, open_source
from finetune.recipes.schema import SourceEntry

_THREADS = 4
_SHOWN = 5


@dataclass(frozen=True)
class Overlap:
    """What two sources share.

    `train` and `evaluation` are their numbers of rows; `images` counts the distinct images in both, and
    `evaluation_rows` the rows that should not be evaluated on; `pairs` lists some, training row first.
    """

    train_name: str
    evaluation_name: str
    train: int
    evaluation: int
    images: int
    evaluation_rows: int
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def evaluation_sources(tasks: Iterable[str]) -> list[SourceEntry]:
    """Return the data sets that our tasks are evaluated on, each with its split."""
    names = dict.fromkeys(entry.dataset for entry in registry.tasks(tasks) if entry.dataset)
    return [SourceEntry(data=name, split=catalog.get(name).split) for name in names]


def overlaps(
    train: Sequence[SourceEntry], evaluation: Sequence[SourceEntry], advance: Callable[[str], None] = lambda _: None
) -> list[Overlap]:
    """Compare every training source with every evaluation source.

    Args:
        train: sources to train on.
        evaluation: sources to evaluate on.
        advance: called with a source's name for each image read.

    Raises:
        UserError: a source cannot be read, or one of its images.
    """
    seen = [_rows_by_image(open_source(entry), advance) for entry in train]
    asked = [_rows_by_image(open_source(entry), advance) for entry in evaluation]
    return [_compare(*one, *other) for one in seen for other in asked]


def _rows_by_image(
    source: TrainingSource, advance: Callable[[str], None]
) -> tuple[TrainingSource, dict[bytes, list[int]]]:
    def marks(row: int) -> set[bytes]:
        found = {fingerprint(image) for image in source[row].load_images()}
        advance(source.name)
        return found

    found: dict[bytes, list[int]] = {}
    with ThreadPoolExecutor(_THREADS) as workers:
        for row, images in enumerate(workers.map(marks, range(len(source)))):
            for image in images:
                found.setdefault(image, []).append(row)
    return source, found


def _compare(
    train: TrainingSource, train_rows: dict[bytes, list[int]], other: TrainingSource, other_rows: dict[bytes, list[int]]
) -> Overlap:
    shared = [image for image in train_rows if image in other_rows]
    return Overlap(
        train_name=train.name,
        evaluation_name=other.name,
        train=len(train),
        evaluation=len(other),
        images=len(shared),
        evaluation_rows=len({row for image in shared for row in other_rows[image]}),
        pairs=[(train_rows[image][0], other_rows[image][0]) for image in shared[:_SHOWN]],
    )
