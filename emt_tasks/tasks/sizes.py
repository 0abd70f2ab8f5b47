"""How many documents our tasks have, and how they come in clusters, known before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks import registry
from emt_tasks.tasks.documents import LITE_SIZE


@dataclass(frozen=True, slots=True)
class Sizes:
    """A task of ours with the number of documents in each cluster, (clusters,), and its data set's name."""

    task: str
    quadrant: str | None
    data: str
    clusters: NDArray[np.int64]


def sizes(names: Iterable[str], limit: int | None = None) -> list[Sizes]:
    """Return the sizes of our tasks among these names, with at most `limit` documents each.

    A data set that is not on this machine has as many rows as its publisher says, each in a cluster of its own. Tasks
    of which nothing is known, of a user's own data that is not here, are left out.
    """
    found = []
    for entry in registry.tasks(names):
        dataset = catalog.get(entry.dataset) if entry.dataset else None
        clusters = _clusters(dataset) if dataset else np.zeros(0, dtype=np.int64)
        if dataset is None or not len(clusters):
            continue
        lite = str(registry.load(entry.file).get("process_docs")).endswith("_documents_lite")
        # The lite sample is drawn by hash: as good as at random.
        clusters = _some(clusters, LITE_SIZE if lite else None, np.random.default_rng(0))
        found.append(Sizes(entry.name, entry.quadrant, dataset.name, _some(clusters, limit, None)))
    return found


def _clusters(dataset: Dataset) -> NDArray[np.int64]:
    """Return the number of documents in each of a data set's clusters; one of the roles' lists is one of questions."""
    file = dataset.local_file(dataset.split)
    if file is None or not file.is_file():
        rows = dataset.rows.get(dataset.split, 0)
        return np.full(rows, dataset.asks_per_row, dtype=np.int64)
    cluster, question = dataset.columns.cluster, dataset.columns.question
    wanted = [name for name in (cluster, question) if name]
    table = pq.read_table(file, columns=wanted) if wanted else None
    if table is None:
        return np.ones(pq.read_metadata(file).num_rows, dtype=np.int64)
    asked = table[question].to_pylist() if question else [None] * table.num_rows
    counts = [len(one) if isinstance(one, list) else 1 for one in asked]
    if cluster is None:
        return np.array(counts, dtype=np.int64)
    total: Counter[object] = Counter()
    for name, count in zip(table[cluster].to_pylist(), counts, strict=True):
        total[name] += count
    return np.array(list(total.values()), dtype=np.int64)


def _some(clusters: NDArray[np.int64], most: int | None, generator: np.random.Generator | None) -> NDArray[np.int64]:
    """Keep at most so many documents, drawn at random, or the first ones without a generator."""
    n = int(clusters.sum())
    if most is None or n <= most:
        return clusters
    owners = np.repeat(np.arange(len(clusters)), clusters)
    kept = owners[:most] if generator is None else generator.choice(owners, most, replace=False)
    counts = np.bincount(kept)
    return np.asarray(counts[counts > 0], dtype=np.int64)
