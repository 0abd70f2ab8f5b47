"""Results as data frames with typed columns, and as HTML in which nothing is markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
import polars as pl
import pytest

from emt_core.frames import MOST_ROWS, Tabular


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    kind: Literal["a", "b"]
    n: int
    lost: int | None
    rate: float | None
    known: bool
    p_value: float | None = field(default=None, metadata={"digits": 2, "small": True})
    why: str = field(default="", metadata={"hidden": True})


@dataclass(frozen=True, slots=True)
class Table(Tabular):
    rows: tuple[Row, ...]

    @property
    def row_type(self) -> type[Row]:
        return Row

    def table(self) -> tuple[Row, ...]:
        return self.rows


SOME = Table((Row("<b>", "a", 1200, None, 12.345, True, 0.001, "x"), Row("y", "b", 3, 4, None, False, 0.5)))


@pytest.mark.parametrize("table", [SOME, Table(()), Table((Row("y", "b", 3, None, None, False),))])
def test_columns_keep_their_types_without_rows_and_where_all_is_missing(table):
    frame = table.to_polars()
    assert frame.schema == {
        "name": pl.String,
        "kind": pl.String,
        "n": pl.Int64,
        "lost": pl.Int64,
        "rate": pl.Float64,
        "known": pl.Boolean,
        "p_value": pl.Float64,
        "why": pl.String,
    }
    assert [str(kind) for kind in table.to_pandas().dtypes] == [
        *("string", "string", "Int64", "Int64", "Float64", "boolean", "Float64", "string"),
    ]
    assert len(frame) == len(table.to_pandas()) == len(table.rows)


def test_values_are_the_rows():
    assert SOME.to_polars().rows()[0] == ("<b>", "a", 1200, None, 12.345, True, 0.001, "x")
    assert SOME.to_pandas()["n"].tolist() == [1200, 3]
    assert pd.isna(SOME.to_pandas()["lost"][0])


def test_html_by_hand():
    html = SOME._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html
    assert "why" not in html
    # A thousand is separated, a rate has one digit, and a small p-value is told from zero.
    for cell in ("<td>1,200</td>", "<td>–</td>", "<td>12.3</td>", "<td>&lt; 0.01</td>", "<td>0.50</td>"):
        assert cell in html


def test_a_long_table_says_what_it_leaves_out():
    html = Table((SOME.rows[1],) * (MOST_ROWS + 2))._repr_html_()
    assert html.count("<tr>") == 1 + MOST_ROWS
    assert "and 2 more rows" in html
