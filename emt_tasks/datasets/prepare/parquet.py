"""Parquet files as on the hub, written in pieces and moved into place only when whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS_A_GROUP = 1000
_BYTES_A_GROUP = 32 * 2**20


def write_parquet(path: Path, features: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the columns of `features` (datasets.Features); only one row group is in memory at a time.

    Row groups are small enough to read single images from a file of several gigabytes.
    """
    schema = features.arrow_schema
    # Nearly all bytes are images, which differ from each other and are already compressed.
    image = next(iter(features))
    others = [name for name in schema.names if name != image]
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=others) as writer:
        for group in _groups(rows, image):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _groups(rows: Iterable[Mapping[str, Any]], image: str) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row[image]["bytes"])
        if len(group) == _ROWS_A_GROUP or size >= _BYTES_A_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
