"""Thumbnails, and what is said where there is none."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emt_core.runs import Task
from leaderboards.report.images import Thumbnails, find_data, shrink


def _task(path: Path | str, **config: Any) -> Task:
    kwargs = {"data_files": {"test": str(path)}}
    known = {"dataset_path": "parquet", "dataset_kwargs": kwargs, "test_split": "test"}
    return Task("toy", Path("samples.jsonl"), config=known | config)


def _size(uri: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size


def test_each_image_once_small_or_the_reason(pictures: Path) -> None:
    thumbnails = Thumbnails()
    found = thumbnails.of(_task(pictures), [0, 1, 2, 3, 4, 99, None])
    assert found[0] == found[1] == 0
    assert found[2] == 1
    assert [_size(uri) for uri in thumbnails.uris] == [(160, 80), (28, 14)]
    assert found[3] == "the image cannot be read"
    assert found[4] == "the data set has only the image's path"
    assert found[99] == "test.parquet has no such row"
    assert found[None] == "the run does not say which row of the data set this is"
    assert thumbnails.of(_task(pictures), [2]) == {None: found[None], 2: 1}


def test_the_budget_is_kept(pictures: Path) -> None:
    thumbnails = Thumbnails(budget=10)
    assert thumbnails.of(_task(pictures), [0])[0] == "left out to keep the report small"
    assert thumbnails.uris == []


def test_where_the_data_is(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMT_DATA_DIR", raising=False)
    assert find_data(_task(pictures)) == pictures
    elsewhere = _task("/another/machine/toy/test.parquet")
    assert (
        find_data(elsewhere) == "test.parquet of the data set is not on this machine; set EMT_DATA_DIR to where it is"
    )
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path / "data"))
    assert find_data(elsewhere) == pictures
    assert "not read from a parquet file" in str(find_data(_task(pictures, dataset_path="org/name")))
    assert "not read from a parquet file" in str(find_data(_task(pictures, test_split="train")))
    assert Thumbnails().of(_task(pictures, dataset_path="org/name"), [0])[0] == find_data(
        _task(pictures, dataset_path="org/name")
    )


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    path.write_bytes(b"junk")
    assert str(Thumbnails().of(_task(path), [0])[0]).startswith("test.parquet cannot be read: ")


def test_a_truncated_image_is_not_shown_grey(pictures: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(buffer, "JPEG")
    assert shrink(buffer.getvalue()) is not None
    assert shrink(buffer.getvalue()[:2000]) is None
