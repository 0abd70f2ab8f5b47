"""Read samples files: some fields of all samples fast, or whole samples one by one, with the line of any fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line

if TYPE_CHECKING:
    import polars as pl
    from polars.datatypes import DataTypeClass

    Query = Callable[[pl.LazyFrame], pl.LazyFrame]

_CHUNK = 50_000
"""Samples at a time where Python reads what polars cannot."""


def read_columns(path: Path, schema: Mapping[str, pl.DataType], query: Query) -> pl.DataFrame:
    """Read some fields of a JSON lines file and apply a row-by-row `query` to them.

    polars reads the file as a stream, on all cores; where it cannot (NaN, a field of mixed types, a fault), Python
    does, slowly, and names the line of a fault.

    Raises:
        UserError: a line is no JSON object, or a field holds what cannot be read as its type.
    """
    import polars as pl

    try:
        return query(pl.scan_ndjson(path, schema=dict(schema))).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        frames = [query(chunk.lazy()).collect() for chunk in _read_chunks(path, schema)]
        return pl.concat(frames) if frames else query(pl.LazyFrame(schema=dict(schema))).collect()


def iterate_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each sample whole, as lmms-eval logged it.

    Raises:
        UserError: a line is no JSON object.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    raise UserError(f"{path} is cut off in line {number}, its last: run lmms-eval again") from error
                raise UserError(f"{path} line {number} is not JSON: {one_line(error)}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number}: expected an object, found {type(row).__name__}")
            yield row


def _read_chunks(path: Path, schema: Mapping[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    import polars as pl

    rows = iterate_rows(path)
    number = 0
    while chunk := list(islice(rows, _CHUNK)):
        columns: dict[str, list[Any]] = {name: [] for name in schema}
        for row in chunk:
            number += 1
            for name, dtype in schema.items():
                columns[name].append(_as(dtype, row.get(name), f"{path} sample {number}: field {name!r}"))
        yield pl.DataFrame(columns, schema=dict(schema), strict=False)


def _as(dtype: pl.DataType, value: Any, where: str) -> Any:
    """Return a JSON value as polars' own reader would: texts of whatever is not text, structs as far as asked for."""
    import polars as pl

    if value is None:
        return None
    if isinstance(dtype, pl.String):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(dtype, pl.Struct) and isinstance(value, dict):
        return {field.name: _as(_instance(field.dtype), value.get(field.name), where) for field in dtype.fields}
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [_as(_instance(dtype.inner), item, where) for item in value]
    if isinstance(dtype, pl.Int64) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(dtype, pl.Float64) and isinstance(value, int | float):
        return float(value)
    raise UserError(f"{where}: expected {str(dtype).lower()}, found {json.dumps(value, ensure_ascii=False)[:60]}")


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype
