"""Plain tables as runs: what a column is taken for, in each kind of file, and what is wrong with a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.formats.written import document_number
from emt_core.runs import read_run
from leaderboards.comparison.samples import read_samples

ROWS = [
    {"id": "a1", "score": 1.0, "prediction": "yes", "target": "yes", "group": "dogs", "note": "x"},
    {"id": "a2", "score": 0.25, "prediction": "no", "target": "yes", "group": "cats", "note": "y"},
    {"id": "a3", "score": None, "prediction": "no", "target": "no", "group": "cats", "note": "z"},
]


def separated(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    mark = "\t" if file.suffix == ".tsv" else ","
    lines = [list(rows[0]), *(["" if value is None else str(value) for value in row.values()] for row in rows)]
    file.write_text("".join(mark.join(line) + "\n" for line in lines), encoding="utf-8")


def workbook(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    book = openpyxl.Workbook()
    for line in [list(rows[0]), *(list(row.values()) for row in rows)]:
        book.active.append(line)
    book.save(file)


WRITERS: dict[str, Callable[[Path, Sequence[Mapping[str, Any]]], Any]] = {
    "csv": separated,
    "tsv": separated,
    "json": lambda file, rows: file.write_text(json.dumps(rows), encoding="utf-8"),
    "jsonl": lambda file, rows: file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"),
    "parquet": lambda file, rows: pl.DataFrame(list(rows)).write_parquet(file),
    "xlsx": workbook,
}


@pytest.mark.parametrize("ending", WRITERS)
def test_each_kind_of_table_is_the_same_run(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"scores.{ending}"
    WRITERS[ending](file, ROWS)
    run = read_run(file)
    assert (run.name, list(run.tasks)) == ("scores", ["samples"])
    samples = read_samples(run.tasks["samples"])
    by_document = {row["doc_id"]: row for row in samples.frame.to_dicts()}
    found = [by_document[document_number(row["id"])] for row in ROWS]
    assert [row["score"] for row in found] == [1.0, 0.25, None]
    assert [row["class"] for row in found] == ["dogs", "cats", "cats"]
    assert samples.metric == "score"


def test_a_folder_is_a_run_and_each_table_a_task(tmp_path: Path) -> None:
    separated(tmp_path / "docs.csv", ROWS)
    separated(tmp_path / "charts.tsv", ROWS)
    (tmp_path / "notes.csv").write_text("who,what\nme,this\n", encoding="utf-8")
    (tmp_path / "settings.json").write_text("{}", encoding="utf-8")
    assert set(read_run(tmp_path).tasks) == {"docs", "charts"}


def test_a_column_names_the_task(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    separated(file, [{"id": i, "task": name, "score": i} for name in ("x", "y") for i in range(2)])
    run = read_run(file)
    assert list(run.tasks) == ["x", "y"]
    assert read_samples(run.tasks["y"]).frame["doc_id"].to_list() == [0, 1]
    separated(tmp_path / "more.csv", [{"id": 1, "task": "x", "score": 1}])
    with pytest.raises(UserError, match=r"more\.csv: task 'x' is in .*all\.csv too; expected it in one file"):
        read_run(tmp_path)


def test_other_columns_of_numbers_are_metrics_whose_direction_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    separated(file, [{"id": i, "cider": i * 0.7, "text": "x"} for i in range(3)])
    task = read_run(file).tasks["samples"]
    assert task.metrics == ("cider",)
    with pytest.raises(UserError, match=r"scores\.csv: .* whether cider is better .* --metric samples=cider:higher or"):
        read_samples(task)
    assert read_samples(task, "cider:higher").frame["score"].to_list() == pytest.approx([0.0, 0.7, 1.4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,score\na,1\n", r"no column names the document; expected id or doc_id .*, found name, score"),
        ("id,text\na,b\n", r"no column has scores; expected a column score of numbers, found id, text"),
        ("id,score\n,1\n", r"scores\.csv:2: column 'id' is empty; expected the document's name"),
        ("id,score\na,good\n", r"scores\.csv:2: column 'score': expected a number, found 'good'"),
        ("id,score\na,inf\n", r"scores\.csv:2: column 'score': expected a finite number, found inf"),
        ("id,score\na,1,2\n", r"scores\.csv:2: expected 2 columns, found 3"),
        ("id,score\na,1\na,0\n", r"scores\.csv contains doc_id \d+ 2 times"),
    ],
)
def test_faults_of_a_table_are_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "scores.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read_samples(read_run(file).tasks["samples"])
    assert "\n" not in str(caught.value)


@given(st.lists(st.one_of(st.integers(), st.text()), unique_by=str))
def test_documents_keep_apart_and_numbers_keep_themselves(names: list[int | str]) -> None:
    numbers = [document_number(name) for name in names]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 2**53 for number in numbers)  # which JavaScript counts exactly
    assert [document_number(i) for i in (0, 7, "7")] == [0, 7, 7]
    assert document_number("07") != 7
