"""Read and write JSON lines, fast where only some fields are needed, and write files whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line

if TYPE_CHECKING:
    import polars as pl
    from polars.datatypes import DataTypeClass

    Query = Callable[[pl.LazyFrame], pl.LazyFrame]

Row = dict[str, Any]

_CHUNK = 50_000
"""Samples per batch when Python reads what polars cannot."""


def read_yaml(path: Path, loader: Any = None) -> Any:
    """Return the contents of a YAML file; `loader` is yaml's safe one unless given.

    Raises:
        UserError: the file cannot be read, or is not YAML.
    """
    import yaml

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader or yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error)}") from error


def read_columns(path: Path, schema: Mapping[str, pl.DataType], query: Query) -> pl.DataFrame:
    """Read some fields of a JSON lines file and apply a row-by-row `query` to them.

    polars streams the file on all cores; if it cannot (NaN, a field of mixed types, a fault), Python reads it,
    slowly, and names the faulty line.

    Raises:
        UserError: a line is not a JSON object, or a field has the wrong type.
    """
    import polars as pl

    try:
        return query(pl.scan_ndjson(path, schema=dict(schema))).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        rows = read_rows(path)
        frames = []
        while chunk := list(islice(rows, _CHUNK)):
            frames.append(_apply(query, chunk, schema))
        return pl.concat(frames) if frames else query(pl.LazyFrame(schema=dict(schema))).collect()


def sink_columns(path: Path, schema: Mapping[str, pl.DataType], query: Query, file: Path) -> None:
    """Write what `read_columns` returns to a parquet file, without holding it in memory where polars can read it.

    Raises:
        UserError: as `read_columns` says.
    """
    import polars as pl

    try:
        query(pl.scan_ndjson(path, schema=dict(schema))).sink_parquet(file, compression="lz4", row_group_size=8192)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        read_columns(path, schema, query).write_parquet(file, compression="lz4", row_group_size=8192)


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the position (`file:line`) and content of each row of a JSON lines file; blank lines are skipped.

    Raises:
        UserError: the file cannot be read, is cut off, or a line is not a JSON object.
    """
    import jsonlines

    try:
        with path.open("rb") as file:
            lines = _Numbered(file)
            reader = jsonlines.Reader(lines)
            while True:
                try:
                    row = reader.read(type=dict, skip_empty=True)
                except EOFError:
                    return
                yield f"{path}:{lines.number}", row
    except RecursionError as error:
        raise UserError(f"{path}:{lines.number}: nested too deeply to be read") from error
    except jsonlines.InvalidLineError as error:
        where, last = f"{path}:{lines.number}", lines.last
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise UserError(f"{where}: cannot be read as JSON lines (not UTF-8)") from error
        if last.lstrip().startswith(b"{") and not last.endswith(b"\n"):
            raise UserError(f"{where}: the last line is cut off; write the file again") from error
        found = last.decode("utf-8", "backslashreplace").strip()[:60]
        raise UserError(f"{where}: expected a JSON object, found {found!r}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read as JSON lines ({error.strerror or error})") from error


def dump_row(row: Row) -> bytes:
    """Return one line of JSON. A lone surrogate, which UTF-8 cannot encode, becomes its JSON escape."""
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


@contextmanager
def replacing(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path beside each target; rename them all at the end, or leave nothing behind.

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


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file, whole or not at all, and create its folder if needed.

    Raises:
        UserError: the file exists and `overwrite` is off, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists: choose another file or add --overwrite")
    with replacing([path]) as (partial,):
        partial.write_text(text, encoding="utf-8", newline="\n")


class _Numbered:
    """The lines of a file, with the number and text of the last one read."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.number, self.last = 0, b"\n"

    def __iter__(self) -> _Numbered:
        return self

    def __next__(self) -> bytes:
        self.last = next(self._lines)
        self.number += 1
        return self.last


def _make_folder(folder: Path, stack: ExitStack) -> None:
    """Create a folder and its parents; those still empty when the stack closes are removed."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    stack.callback(_remove_empty, new)


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _apply(query: Query, rows: Sequence[tuple[str, Row]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Apply a query to rows read by Python; where it fails, the halves are tried, until the row at fault is found."""
    import polars as pl

    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for where, row in rows:
        try:
            for name, dtype in schema.items():
                columns[name].append(_as(dtype, row.get(name), f"{where}: field {name!r}"))
        except RecursionError as error:
            raise UserError(f"{where}: nested too deeply to be read") from error
    try:
        return query(pl.LazyFrame(columns, schema=dict(schema))).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if len(rows) == 1:
            raise UserError(f"{rows[0][0]}: cannot be read: {one_line(error)}") from error
        middle = len(rows) // 2
        return pl.concat([_apply(query, half, schema) for half in (rows[:middle], rows[middle:])])


def _as(dtype: pl.DataType, value: Any, where: str) -> Any:
    """Return a JSON value as polars' own reader would: non-text as text, structs with only the fields asked for."""
    import polars as pl

    if value is None:
        return None
    if isinstance(dtype, pl.String):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()  # half a surrogate pair, which polars cannot hold
    if isinstance(dtype, pl.Struct) and isinstance(value, dict):
        return {field.name: _as(_instance(field.dtype), value.get(field.name), where) for field in dtype.fields}
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [_as(_instance(dtype.inner), item, where) for item in value]
    if isinstance(dtype, pl.Int64) and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if isinstance(dtype, pl.Float64) and isinstance(value, int | float) and (abs(value) < 2**1000 or value != value):
        return float(value)
    raise UserError(f"{where}: expected {str(dtype).lower()}, found {json.dumps(value, ensure_ascii=False)[:60]}")


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
