"""Parquet files as the hub has them, written in pieces and put in place only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from emt_core.errors import UserError

_ROWS_A_GROUP = 1000
_BYTES_A_GROUP = 32 * 2**20


@contextmanager
def replacing(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a path to write beside each target; rename them all at the end, or leave nothing behind.

    Raises:
        UserError: the targets' folder cannot be written to, or the disk is full.
    """
    partials = [target.with_name(f".{target.name}.{os.getpid()}.partial") for target in targets]
    with ExitStack() as stack:
        try:
            for folder in {target.parent for target in targets}:
                _make_folder(folder, stack)
            for partial in partials:
                stack.callback(partial.unlink, missing_ok=True)
            yield partials
            for partial, target in zip(partials, targets, strict=True):
                partial.replace(target)
        except OSError as error:
            raise UserError(f"{targets[0].parent}: cannot be written: {error.strerror or error}") from error


def _make_folder(folder: Path, stack: ExitStack) -> None:
    """Create a folder with its parents; on leaving the stack those that are still empty go away again."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    stack.callback(_remove_empty, new)


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def write_parquet(path: Path, features: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the columns of `features` (datasets.Features); only one row group is in memory at a time.

    Row groups are small enough to read single images out of a file of some gigabytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features.arrow_schema
    # Nearly all bytes are images, which differ from each other and are compressed already.
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
