"""Oxford Flowers 102 from jpg/ and MATLAB files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from tests.support.copies import load, prepare, rows, write_image

# Image 1 … 6 → class 1 … 102, as imagelabels.mat counts them.
LABELS = [77, 1, 102, 3, 1, 2]
LISTS = {"trnid": [2, 4], "valid": [6, 1], "tstid": [5, 3]}


def write_flowers(folder, labels=LABELS, lists=LISTS):
    kept = {number: write_image(folder / "jpg" / f"image_{number:05d}.jpg", number) for number in range(1, 7)}
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(folder / "setid.mat", {name: np.array([ids], dtype=np.uint16) for name, ids in lists.items()})
    return kept


@pytest.mark.parametrize("folder", ["", "flowers-102"])
def test_splits_and_labels(tmp_path, folder):
    kept = write_flowers(tmp_path / "source" / folder)
    files, _ = prepare("flowers102", tmp_path / "source", tmp_path / "data")
    assert [file.stem for file in files] == ["train", "validation", "test"]
    # Sorted by number; labels count from 0.
    numbers = [[2, 4], [1, 6], [3, 5]]
    assert [[row["image"]["bytes"] for row in rows(file)] for file in files] == [
        [kept[number] for number in split] for split in numbers
    ]
    assert [[row["label"] for row in rows(file)] for file in files] == [[0, 2], [76, 1], [101, 0]]


def test_it_loads_as_pictures_with_the_vocabularys_names(tmp_path):
    write_flowers(tmp_path)
    files, _ = prepare("flowers102", tmp_path, tmp_path / "data", split="train")
    dataset = load(files[0])
    assert dataset.features["label"].names == vocabularies.load("flowers102").names
    assert dataset.features["label"].int2str(dataset[0]["label"]) == "pink primrose"
    assert dataset[0]["image"].size == (8, 6)


def test_a_missing_picture(tmp_path):
    write_flowers(tmp_path)
    (tmp_path / "jpg" / "image_00003.jpg").unlink()
    with pytest.raises(UserError, match=r"test: 1 of 2 images are missing, the first image_00003.jpg"):
        prepare("flowers102", tmp_path, tmp_path / "data")
    files, _ = prepare("flowers102", tmp_path, tmp_path / "data", split="test", allow_missing=True)
    assert len(rows(files[0])) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [77, 1, 103, 3, 1, 2]}, r"imagelabels.mat: image 3 has label 103; expected 1 to 102"),
        ({"labels": [77, 1]}, r"setid.mat: trnid names image 4; expected 1 to 2"),
        ({"lists": {"trnid": [1], "valid": [2]}}, r"setid.mat: expected a variable 'tstid', found trnid, valid"),
    ],
)
def test_files_that_do_not_fit(tmp_path, given, message):
    write_flowers(tmp_path, **given)
    with pytest.raises(UserError, match=message):
        prepare("flowers102", tmp_path, tmp_path / "data")
