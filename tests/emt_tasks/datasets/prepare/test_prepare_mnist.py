"""MNIST from IDX files and from PNG folders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emt_core.errors import UserError
from tests.support.copies import load, noise, pixels, prepare, rows, write_image, write_mnist

LABELS = [5, 0, 4, 1, 9]


@pytest.mark.parametrize("ending", ["-idx{}-ubyte", ".idx{}-ubyte", "-idx{}-ubyte.gz"])
@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw"])
def test_idx_files_in_every_form(tmp_path, ending, folder):
    images = noise(5, 28, 28)
    write_mnist(tmp_path / "source" / folder, "test", images, LABELS, ending)
    files, said = prepare("mnist", tmp_path / "source", tmp_path / "data")
    assert files == [tmp_path / "data" / "mnist" / "test.parquet"]
    assert "recognised IDX files" in said
    assert "5 rows; the published data set has 10,000" in said
    stored = rows(files[0])
    assert [row["label"] for row in stored] == LABELS
    assert np.array_equal([pixels(row["image"]) for row in stored], images)


def test_both_splits_load_as_pictures(tmp_path):
    train, test = noise(6, 28, 28, seed=1), noise(2, 28, 28, seed=2)
    write_mnist(tmp_path, "train", train, [1, 2, 3, 4, 5, 6])
    write_mnist(tmp_path, "test", test, [7, 8])
    files, _ = prepare("mnist", tmp_path, tmp_path / "data")
    assert [file.name for file in files] == ["train.parquet", "test.parquet"]
    dataset = load(files[1])
    assert dataset.features["label"].names == [str(digit) for digit in range(10)]
    assert dataset["label"] == [7, 8]
    assert dataset[0]["image"].mode == "L"
    assert np.array_equal(np.asarray(dataset[1]["image"]), test[1])


def test_one_split_only_when_asked(tmp_path):
    for split in ("train", "test"):
        write_mnist(tmp_path, split, noise(1, 28, 28), [3])
    files, _ = prepare("mnist", tmp_path, tmp_path / "data", split="train")
    assert [file.name for file in files] == ["train.parquet"]
    assert not (tmp_path / "data" / "mnist" / "test.parquet").exists()


def test_the_packed_file_beside_the_unpacked_one_is_no_second_copy(tmp_path):
    # torchvision leaves both.
    for ending in ("-idx{}-ubyte", "-idx{}-ubyte.gz"):
        write_mnist(tmp_path, "test", noise(2, 28, 28), [1, 2], ending)
    files, _ = prepare("mnist", tmp_path, tmp_path / "data")
    assert len(rows(files[0])) == 2


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_png_folders_keep_their_bytes(tmp_path, train, test):
    source = tmp_path / "source"
    kept = {
        name: write_image(source / test / name, seed) for seed, name in enumerate(["3/b.png", "0/z.png", "3/a.png"])
    }
    write_image(source / train / "1/a.png")
    (source / test / ".DS_Store").touch()
    (source / test / "3" / "._a.png").write_bytes(b"what a Mac leaves")
    (source / test / "3" / "notes.txt").touch()
    files, said = prepare("mnist", source, tmp_path / "data", split="test")
    assert "class folders" in said
    # By class, then by name.
    assert [(row["label"], row["image"]["path"]) for row in rows(files[0])] == [
        (0, "z.png"),
        (3, "a.png"),
        (3, "b.png"),
    ]
    assert [row["image"]["bytes"] for row in rows(files[0])] == [kept["0/z.png"], kept["3/a.png"], kept["3/b.png"]]


def test_class_folders_alone_need_a_split(tmp_path):
    write_image(tmp_path / "7" / "a.png")
    with pytest.raises(UserError, match=r"without a split folder .* --split train\|test"):
        prepare("mnist", tmp_path, tmp_path / "data")
    files, _ = prepare("mnist", tmp_path, tmp_path / "data", split="test")
    assert rows(files[0])[0]["label"] == 7


def test_an_unknown_class_folder_is_named(tmp_path):
    write_image(tmp_path / "test" / "7" / "a.png")
    write_image(tmp_path / "test" / "ten" / "a.png")
    with pytest.raises(UserError, match=r"test/ten: not a class of mnist; expected 0, 1, 2"):
        prepare("mnist", tmp_path, tmp_path / "data")


def test_an_empty_class_folder_is_named(tmp_path):
    write_image(tmp_path / "test" / "7" / "a.png")
    (tmp_path / "test" / "8").mkdir()
    with pytest.raises(UserError, match=r"test/8: expected images in this class folder, found none"):
        prepare("mnist", tmp_path, tmp_path / "data")


def test_two_folders_for_one_split_are_refused(tmp_path):
    write_image(tmp_path / "test" / "7" / "a.png")
    write_image(tmp_path / "testing" / "7" / "a.png")
    with pytest.raises(UserError, match=r"both test/ and testing/ could be test; keep only one"):
        prepare("mnist", tmp_path, tmp_path / "data")


def _cut(folder):
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])


def _magic(folder):
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(b"\x00\x00\x0d\x03" + file.read_bytes()[4:])


def _no_labels(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()


def _fewer_labels(folder):
    write_mnist(folder, "test", noise(5, 28, 28), LABELS)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x01\x05")


def _label_ten(folder):
    write_mnist(folder, "test", noise(1, 28, 28), [10])


def _bad_gzip(folder):
    _no_labels(folder)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b not gzip")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        # 5 · 28 · 28 = 3,920 bytes, and one was cut off.
        (_cut, r"t10k-images-idx3-ubyte: expected 3,920 bytes for shape \(5, 28, 28\), found 3,919"),
        (_magic, r"expected an IDX file of unsigned bytes, 3 dimensions"),
        (_no_labels, r"no labels beside it; expected t10k-labels-idx1-ubyte"),
        (_fewer_labels, r"1 labels for the 5 images"),
        (_label_ten, r"expected labels 0 to 9, found 10"),
        (_bad_gzip, r"t10k-labels-idx1-ubyte.gz: cannot be unpacked"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    write_mnist(tmp_path, "test", noise(5, 28, 28), LABELS)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare("mnist", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), labels=st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_round_trip(tmp_path_factory, seed, labels):
    folder = tmp_path_factory.mktemp("mnist")
    images = noise(len(labels), 28, 28, seed=seed)
    write_mnist(folder, "train", images, labels)
    files, _ = prepare("mnist", folder, folder / "data")
    stored = rows(files[0])
    assert [row["label"] for row in stored] == labels
    assert np.array_equal([pixels(row["image"]) for row in stored], images)
