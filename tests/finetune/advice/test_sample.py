"""Samples of files: small ones from all rows, large ones from row groups all over the file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from finetune.advice import sample
from finetune.advice.sample import drawn, sample_training, sampled_columns
from finetune.recipes.schema import SourceEntry


@given(st.integers(0, 500), st.integers(1, 100))
def test_drawn_indices_are_distinct_sorted_and_the_same_each_time(size: int, limit: int) -> None:
    found = drawn(size, limit)
    assert len(found) == min(size, limit) == len(set(found))
    assert found == sorted(found) == drawn(size, limit)
    assert all(0 <= index < size for index in found)


@pytest.mark.parametrize("whole", [True, False])
def test_a_sample_comes_from_all_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """1,000 rows in groups of 10. Of a large file come the first 4 rows of 25 groups."""
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"row": range(1000), "other": ["x"] * 1000}), file, row_group_size=10)
    if not whole:
        monkeypatch.setattr(sample, "_WHOLE", 0)
        monkeypatch.setattr(sample, "drawn", lambda size, limit: list(range(0, size, size // 25)))
    table, rows = sampled_columns(file, 100, ["row"])
    values = table.column("row").to_pylist()
    assert (rows, len(values), table.column_names) == (1000, 100, ["row"])
    if whole:
        assert len({value // 100 for value in values}) == 10
    else:
        assert values == [group + offset for group in range(0, 1000, 40) for offset in range(4)]


def test_what_is_no_parquet_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    file.write_text("not parquet")
    with pytest.raises(UserError, match=r"rows.parquet: not a parquet file \("):
        sampled_columns(file, 1, None)


def test_a_named_data_set_is_sampled_as_it_is_trained_on(data_dir: Path) -> None:
    """24 books with two questions each; of MNIST all rows, with its classes."""
    books, digits = (sample_training(SourceEntry(data=name)) for name in ("ocr_vqa", "mnist"))
    assert (books.total, len(books.examples), len(books.classes)) == (48, 48, 0)
    assert books.turns[0].question == "Who wrote this book?\nAnswer the question using a single word or phrase."
    assert (digits.total, len(digits.examples), len(digits.classes)) == (24, 24, 10)
    assert digits.examples[0].load_images()[0].size == (32, 32)
    few = sample_training(SourceEntry(data="ocr_vqa"), 5)
    assert (few.total, len(few.examples)) == (48, 5)


def test_a_file_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(
        UserError, match=r"no row of 2 can be used; the first: .*mine.jsonl, entry 0: expected messages"
    ):
        sample_training(SourceEntry(data=str(file)))
