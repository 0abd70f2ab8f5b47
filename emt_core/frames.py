"""Results as tables: a data frame with typed columns for polars and pandas, and HTML for notebooks.

A table's rows are dataclasses, and the fields' types are the columns'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from html import escape
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

MOST_ROWS = 100
"""What a notebook shows of a longer table."""

_UNSEEN = dict.fromkeys((*range(9), *range(11, 32), 127, *range(55296, 57344), 65534, 65535), "�")


class Tabular:
    """A result that is a table: `table` returns its rows, all of the type `row_type`."""

    __slots__ = ()

    @property
    def row_type(self) -> type[Any]:
        """The rows' dataclass."""
        raise NotImplementedError

    def table(self) -> Sequence[Any]:
        """Return the rows."""
        raise NotImplementedError

    def to_polars(self) -> pl.DataFrame:
        """Return the table as a polars data frame; its columns have their types even where it has no row."""
        import polars as pl

        kinds: dict[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
        schema = {name: kinds[kind] for name, kind in column_types(self.row_type).items()}
        rows = [[getattr(row, name) for name in schema] for row in self.table()]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a pandas data frame; a number that may be missing keeps its type (Int64, Float64)."""
        import pandas as pd

        kinds = {str: "string", int: "Int64", float: "Float64", bool: "boolean"}
        rows = self.table()
        return pd.DataFrame(
            {
                name: pd.array([getattr(row, name) for row in rows], dtype=kinds[kind])
                for name, kind in column_types(self.row_type).items()
            }
        )

    def _repr_html_(self) -> str:
        return html_table(self.table(), self.row_type)


def column_types(row_type: type[Any]) -> dict[str, type]:
    """Return the type of each field of a dataclass, without None: str, int, float or bool."""
    hints = get_type_hints(row_type)
    return {field.name: _plain(hints[field.name]) for field in fields(row_type)}


def html_table(rows: Sequence[Any], row_type: type[Any]) -> str:
    """Return the rows as an HTML table that a notebook styles; every text in it is escaped.

    A field's metadata may say how many `digits` are shown, by default one; that it is left out: `hidden`; or that what
    rounds to zero is to be told from it: `small`.
    """
    shown = [field for field in fields(row_type) if not field.metadata.get("hidden")]
    types = column_types(row_type)
    head = "".join(f"<th{_align(types[field.name])}>{field.name.replace('_', ' ')}</th>" for field in shown)
    body = "".join(
        "<tr>"
        + "".join(
            _cell(getattr(row, field.name), types[field.name], **{"digits": 1, "small": False, **field.metadata})
            for field in shown
        )
        + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>and {len(rows) - MOST_ROWS} more rows</p>" if len(rows) > MOST_ROWS else ""
    table = f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div style="overflow-x: auto">{table}</div>{more}'


def text(value: object) -> str:
    """Return anything as text for HTML: escaped, and without the characters that HTML forbids."""
    return escape(str(value).translate(_UNSEEN))


def _cell(value: Any, kind: type, *, digits: int, small: bool) -> str:
    if kind is str or kind is bool:
        return f"<td{_align(kind)}>{'' if value is None else text(value)}</td>"
    if value is None:
        return "<td>–</td>"
    if small and 0 < value < 0.5 * 10**-digits:
        return f"<td>&lt; {10**-digits:.{digits}f}</td>"
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"<td>{value:,}</td>" if kind is int else f"<td>{round(value, digits) + 0:.{digits}f}</td>"


def _align(kind: type) -> str:
    return ' style="text-align: left"' if kind is str or kind is bool else ""


def _plain(hint: Any) -> type:
    from types import UnionType

    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    # A Literal's values are texts here.
    return hint if hint in (str, int, float, bool) else str
