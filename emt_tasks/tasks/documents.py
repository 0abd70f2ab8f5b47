"""What the YAML tasks need of a document, whatever the data set: its image, its prompt's parts, its sample.

A document is one row of a data set, as lmms-eval passes it to the hooks of a task.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

Document = Mapping[str, Any]

LITE_SIZE = 2000
_IMAGE_COLUMNS = ("image", "img")
_STRATUM_COLUMNS = ("fine_label", "classname", "question", "label")


def image(document: Document) -> list[Image.Image]:
    """Return the document's image, in RGB."""
    column = next(column for column in _IMAGE_COLUMNS if column in document)
    return [document[column].convert("RGB")]


def lite(dataset: Dataset) -> Dataset:
    """Keep at most 2,000 documents, every class in its share, the same ones on every machine.

    The column `row` keeps where each document stood.
    """
    rows = stratified_sample(strata(dataset), LITE_SIZE)
    kept = dataset.select(rows)
    return kept if "row" in kept.column_names else kept.add_column("row", rows)


def origin(document: Document, cluster: str | None = None) -> dict[str, Any]:
    """Where a document comes from, as every sample logs it.

    `row` is its row in the data set's file, where that is not its number in the task. `cluster` names the column
    whose value documents about one image share: such documents are not independent of each other.
    """
    row = {"row": document["row"]} if "row" in document else {}
    return row | ({"cluster": str(document[cluster])} if cluster else {})


def strata(dataset: Dataset) -> list[str]:
    """Return one stratum a document: its class, or for free questions the question's first two words."""
    column = next(column for column in _STRATUM_COLUMNS if column in dataset.column_names)
    values = dataset.with_format(None)[column]
    if column == "question":
        return [" ".join(str(value).lower().split()[:2]) for value in values]
    return [str(value) for value in values]


def stratified_sample(strata: Sequence[str], size: int) -> list[int]:
    """Choose `size` indices so that each stratum keeps its share of the whole; sorted.

    Shares are rounded by the largest remainder. Within a stratum the indices with the smallest hash are taken, so
    the choice depends on nothing but the strata themselves.
    """
    if len(strata) <= size:
        return list(range(len(strata)))
    members: dict[str, list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        members[stratum].append(index)
    shares = {stratum: len(indices) * size / len(strata) for stratum, indices in members.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: (quotas[stratum] - shares[stratum], _hash(stratum)))
    for stratum in by_remainder[: size - sum(quotas.values())]:
        quotas[stratum] += 1
    chosen = (sorted(indices, key=_hash)[: quotas[stratum]] for stratum, indices in members.items())
    return sorted(index for indices in chosen for index in indices)


def _hash(value: object) -> bytes:
    return hashlib.sha256(str(value).encode()).digest()
