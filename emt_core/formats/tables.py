"""Plain tables (CSV, TSV, JSON, JSON lines, parquet, xlsx) with a row for each document, and folders of them.

A table of a folder is a task of that name, unless a column `task` says otherwise.

Columns: `id`; `score` or other metrics, as numbers; and if wanted `task`, `prediction`, `target`, `question`, `group`
and `cluster`. Any other column of numbers is a metric too, which `--metric TASK=NAME` chooses.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, listed, one_line
from emt_core.files import Row, read_rows
from emt_core.formats.written import OtherTask, Sample, as_run
from emt_core.public_names import public_folder
from emt_core.runs import Run

IDS = ("id", "doc_id", "sample_id", "question_id", "index")
"""What the column that names the document may be called; the first of them counts."""

TEXTS = ("task", "prediction", "target", "question", "group", "cluster")
"""Columns that a table may have beside the identifier and the metrics."""

HIGHER = ("score", "accuracy", "acc", "correct", "exact_match")
"""Metrics that are better when higher although nobody says so."""

TASK = "samples"
"""What the task of a single table is called that names none: the same in both runs, whatever the files are called."""

_PEEK = 200
"""Rows that are read to see what a table holds."""

_NO_SCORE = ("", "nan", "none", "null")


def is_table(path: Path) -> bool:
    """Whether this is a table, whatever its columns, or a folder with a table of scores in it."""
    return (path.is_file() and bool(_files(path))) or any(_has_id(file) for file in _files(path))


def read_tables(path: Path) -> Run:
    """Read a table, or a folder of tables, as a run.

    Raises:
        UserError: a table lacks an identifier or a metric.
    """
    tables = [file for file in _files(path) if path.is_file() or _has_id(file)]
    tasks: dict[str, OtherTask] = {}
    for file in tables:
        for task in _tasks(file, TASK if path.is_file() else file.stem):
            if task.name in tasks:
                raise UserError(
                    f"{file}: task {task.name!r} is in {tasks[task.name].source} too; expected it in one file"
                )
            tasks[task.name] = task
    model = path.stem if path.is_file() else public_folder(path)
    return as_run(path, tasks.values(), harness="table", model=model)


def rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Yield the position and content of each row of a table.

    Raises:
        UserError: it cannot be read.
    """
    return _READERS[file.suffix.lower()](file)


def number(value: Any, where: str) -> float | None:
    """Return a score as a number, None where there is none.

    Raises:
        UserError: it is something else.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _NO_SCORE):
        return None
    try:
        found = float({"true": 1, "false": 0}.get(value.strip().lower(), value) if isinstance(value, str) else value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: expected a number, found {str(value)[:60]!r}") from error
    if found != found:
        return None
    if not isfinite(found):
        raise UserError(f"{where}: expected a finite number, found {value}")
    return found


def text(value: Any) -> str | None:
    """Return a cell as text, None where it is empty; whole numbers without a decimal point."""
    if value is None or value == "":
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in _READERS else []
    return sorted(file for file in path.glob("*") if file.suffix.lower() in _READERS)


def _has_id(file: Path) -> bool:
    try:
        return any(not set(IDS).isdisjoint(row) for _, row in islice(rows(file), 1))
    except UserError:
        return False


def _tasks(file: Path, name: str) -> Iterator[OtherTask]:
    peek = list(islice(rows(file), _PEEK))
    if not peek:
        raise UserError(f"{file}: has no rows; expected one for each document, with columns id and score")
    columns = list(dict.fromkeys(column for _, row in peek for column in row))
    key = next((column for column in IDS if column in columns), None)
    if key is None:
        raise UserError(f"{file}: no column names the document; expected {' or '.join(IDS)}, found {listed(columns)}")
    metrics = [column for column in columns if column not in (key, *TEXTS) and _is_metric(column, peek)]
    if not metrics:
        raise UserError(f"{file}: no column has scores; expected a column score of numbers, found {listed(columns)}")
    better = {metric: True if metric in HIGHER else None for metric in sorted(metrics, key=lambda one: one != "score")}
    names = (
        [name] if "task" not in columns else list(dict.fromkeys(text(row.get("task")) or name for _, row in rows(file)))
    )
    for task in names:
        yield OtherTask(
            task, file, better, _reader(file, key, tuple(better), None if "task" not in columns else task, name)
        )


def _is_metric(column: str, peek: Sequence[tuple[str, Row]]) -> bool:
    if column == "score":
        return True
    try:
        return any(number(row.get(column), "") is not None for _, row in peek)
    except UserError:
        return False


def _reader(
    file: Path, key: str, metrics: Sequence[str], task: str | None, otherwise: str
) -> Callable[[], Iterator[Sample]]:
    def read() -> Iterator[Sample]:
        for where, row in rows(file):
            if task is not None and (text(row.get("task")) or otherwise) != task:
                continue
            name = row.get(key)
            if name is None or name == "":
                raise UserError(f"{where}: column {key!r} is empty; expected the document's name")
            yield Sample(
                id=text(name) or "",
                scores={metric: number(row.get(metric), f"{where}: column {metric!r}") for metric in metrics},
                prediction=text(row.get("prediction")),
                target=text(row.get("target")),
                question=text(row.get("question")),
                group=text(row.get("group")),
                cluster=text(row.get("cluster")),
            )

    return read


def _read_csv(file: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            for row in reader:
                where = f"{file}:{reader.line_num}"
                if None in row or None in row.values():
                    found = len(row) - (None in row) + len(row.get(None) or ())
                    found -= sum(value is None for value in row.values())
                    raise UserError(f"{where}: expected {len(reader.fieldnames or ())} columns, found {found}")
                yield where, row
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read as a table: {one_line(error)}") from error


def _read_parquet(file: Path) -> Iterator[tuple[str, Row]]:
    # Imported here: it takes a quarter of a second.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        place = 0
        for batch in table.iter_batches(1000):
            for row in batch.to_pylist():
                place += 1
                yield f"{file}: row {place}", row
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as parquet: {one_line(error)}") from error


def _read_json(file: Path) -> Iterator[tuple[str, Row]]:
    """Read a list of objects; any other JSON is no table, and is not read whole."""
    try:
        with file.open(encoding="utf-8-sig") as content:
            if content.read(100).lstrip()[:1] != "[":
                raise UserError(f"{file}: expected a list of objects, one for each document")
            content.seek(0)
            found = json.load(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON: {one_line(error)}") from error
    for place, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{file}: item {place}: expected an object, found {str(row)[:60]!r}")
        yield f"{file}: item {place}", row


def _read_xlsx(file: Path) -> Iterator[tuple[str, Row]]:
    """Read the first sheet, whose first row names the columns."""
    from zipfile import BadZipFile

    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except (OSError, KeyError, ValueError, BadZipFile, InvalidFileException) as error:
        raise UserError(f"{file}: cannot be read as xlsx: {one_line(error)}") from error
    try:
        lines = book.worksheets[0].iter_rows(values_only=True)
        columns = [str(name) for name in next(lines, ()) if name is not None]
        for place, line in enumerate(lines, start=2):
            if any(cell is not None for cell in line):
                yield f"{file}: row {place}", dict(zip(columns, line, strict=False))
    finally:
        book.close()


_READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": read_rows,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".xlsx": _read_xlsx,
}
"""How each kind of table is read, by the file name's ending."""
