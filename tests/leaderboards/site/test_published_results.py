"""The papers' numbers, against a few read off the pages by hand."""

from __future__ import annotations

import json

import pytest

from leaderboards.published import PublishedRow, read_publications

TASKS = ("emt_mnist", "emt_cifar10", "emt_cifar100", "emt_miniimagenet")


def _row(table: int, model: str) -> PublishedRow:
    emt = read_publications()[0]
    return next(row for part in emt.tables if part.number == table for row in part.rows if row.model == model)


@pytest.mark.parametrize(
    ("table", "model", "expected"),
    [
        (1, "CLIP ViT-L-14", (77.41, 95.36, 76.05, 78.49)),
        (1, "CLIP ViT-L-14, MNIST, 15 epochs", (99.76, 9.18, 0.99, 1.0)),
        (2, "InsBLIP-7b", (45.12, 94.95, 17.0, 12.76)),
        (3, "LLaVA-7b, LoRA, CIFAR-10, 3 epochs", (2.8, 94.59, 3.06, 17.9)),
        (3, "LLaVA-13b, linear, miniImageNet, 3 epochs", (47.75, 29.77, 29.89, 91.24)),
        (4, "LLaVA-7b, linear, CIFAR-100, 2 epochs", (28.21, 52.26, 76.68, 30.86)),
        (5, "LLaVA-7b, LoRA, MNIST, 1 epoch", (98.52, 11.41, 0.57, 0.28)),
    ],
)
def test_numbers_as_printed(table: int, model: str, expected: tuple[float, ...]) -> None:
    assert tuple(_row(table, model).accuracy[task] for task in TASKS) == expected


def test_every_table_is_whole_and_its_names_lead_somewhere() -> None:
    emt, matrix, skills = read_publications()
    assert [(table.number, len(table.rows)) for table in emt.tables] == [(1, 9), (2, 9), (3, 18), (4, 9), (5, 9)]
    rows = [row for table in emt.tables for row in table.rows]
    names = {row.model for row in rows}
    for row in rows:
        assert set(row.accuracy) == set(TASKS)
        assert {row.base, row.encoder} - {None} <= names
        assert row.finetuned_on in (None, *TASKS)
        # What a model was fine-tuned on is what it is best at, in every row of these tables.
        assert row.finetuned_on is None or row.accuracy[row.finetuned_on] == max(row.accuracy.values())
    # LLaVA-7b is printed four times, LLaVA-13b twice: 54 rows, 50 different ones.
    assert len(list(emt.rows())) == 50
    assert (matrix.tables, "no accuracy" in matrix.note) == ((), True)
    assert [(change.learned, change.held_out) for change in skills.changes] == [
        (24.9, -0.6),
        (30.5, -2.1),
        (31.8, -23.3),
    ]


def test_they_equal_the_tables_at_hand(real_data) -> None:  # type: ignore[no-untyped-def]
    tables = real_data.parent / "papers" / "emt_tables.json"
    if not tables.is_file():
        pytest.skip(f"needs {tables}")
    source = json.loads(tables.read_text(encoding="utf-8"))
    for table in read_publications()[0].tables:
        printed = [[row[task.removeprefix("emt_")] for task in TASKS] for row in source[f"table{table.number}"]["rows"]]
        assert [[row.accuracy[task] for task in TASKS] for row in table.rows] == printed
