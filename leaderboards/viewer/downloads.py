"""Samples as CSV and parquet, a row group at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leaderboards.viewer.browsing import COLUMNS, Positions, Samples

KINDS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

_FORMULA = r"^([=+\-@\t\r])"
"""With what a spreadsheet takes a text for a formula (OWASP, CSV injection)."""

_PIECE = 1 << 20


def as_csv(samples: Samples, positions: Positions) -> Iterator[bytes]:
    """Yield a CSV file; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    yield (",".join(COLUMNS) + "\n").encode()
    for frame in samples.batches(positions):
        safe = frame.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'$1"))
        yield safe.write_csv(include_header=False).encode("utf-8")


def as_parquet(samples: Samples, positions: Positions) -> Iterator[bytes]:
    """Yield a parquet file, with the texts as they are."""
    with tempfile.TemporaryFile() as file:
        writer = None
        for frame in samples.batches(positions):
            table = frame.to_arrow()
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is None:
            pq.write_table(_nothing(), file)
        else:
            writer.close()
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece


def _nothing() -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
