"""CIFAR-10 and CIFAR-100 from pickles and from class folders."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.prepare.pickles import load_arrays
from tests.support.copies import load, noise, pixels, prepare, python2_pickle, rows, write_image, write_tar

TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


def batch(labels, /, seed=0, **keys):
    """A batch as the author wrote it: rows of 1,024 red, 1,024 green and 1,024 blue values."""
    names = [b"picture_s_%06d.png" % number for number in range(len(labels))]
    return {b"batch_label": b"a batch", b"data": noise(len(labels), 3072, seed=seed), b"filenames": names} | {
        key.encode(): value for key, value in (keys or {"labels": labels}).items()
    }


def cifar10_files():
    batches = {name: batch([number, 9 - number], seed=number) for number, name in enumerate(TRAIN)}
    return batches | {"test_batch": batch([3, 8, 8], seed=9)}


def write_batches(folder, batches, dump=python2_pickle):
    folder.mkdir(parents=True)
    for name, content in batches.items():
        (folder / name).write_bytes(dump(content))


def dump_by_python3(protocol):
    return lambda content: pickle.dumps(content, protocol)


@pytest.mark.parametrize("dump", [python2_pickle, *map(dump_by_python3, (2, 4, 5))], ids=["python2", "2", "4", "5"])
def test_cifar10_pickles(tmp_path, dump):
    batches = cifar10_files()
    write_batches(tmp_path / "source" / "cifar-10-batches-py", batches, dump)
    files, said = prepare("cifar10", tmp_path / "source", tmp_path / "data")
    assert "recognised Python pickles" in said
    train, test = map(rows, files)
    assert [row["label"] for row in train] == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert [row["label"] for row in test] == [3, 8, 8]
    assert test[2]["img"]["path"] == "picture_s_000002.png"
    # The pixel in row 1, column 2 lies at 1 · 32 + 2 = 34 of each colour's 1,024 values.
    data = batches["test_batch"][b"data"]
    assert pixels(test[1]["img"])[1, 2].tolist() == [data[1, 34], data[1, 1024 + 34], data[1, 2048 + 34]]


def test_cifar10_loads_as_pictures(tmp_path):
    write_batches(tmp_path / "source", cifar10_files())
    files, _ = prepare("cifar10", tmp_path / "source", tmp_path / "data", split="test")
    dataset = load(files[0])
    assert dataset.column_names == ["img", "label"]
    assert dataset.features["label"].int2str(dataset["label"]) == ["cat", "ship", "ship"]
    assert dataset[0]["img"].size == (32, 32)
    assert dataset[0]["img"].mode == "RGB"


def test_an_archive_gives_the_same_file_as_its_contents(tmp_path):
    batches = cifar10_files()
    write_batches(tmp_path / "unpacked", batches)
    archive = {f"cifar-10-batches-py/{name}": python2_pickle(content) for name, content in reversed(batches.items())}
    (tmp_path / "packed").mkdir()
    write_tar(tmp_path / "packed" / "cifar-10-python.tar.gz", archive)
    unpacked, _ = prepare("cifar10", tmp_path / "unpacked", tmp_path / "a")
    in_folder, _ = prepare("cifar10", tmp_path / "packed", tmp_path / "b")
    itself, _ = prepare("cifar10", tmp_path / "packed" / "cifar-10-python.tar.gz", tmp_path / "c")
    for one, two, three in zip(unpacked, in_folder, itself, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()


def test_cifar100_pickles(tmp_path):
    # cattle, class 19, belongs to large_omnivores_and_herbivores, superclass 11.
    labels = {"fine_labels": [19, 0], "coarse_labels": [11, 4]}
    write_batches(tmp_path / "cifar-100-python", {name: batch([0, 1], **labels) for name in ("train", "test", "meta")})
    files, _ = prepare("cifar100", tmp_path, tmp_path / "data")
    dataset = load(files[1])
    assert dataset.column_names == ["img", "fine_label", "coarse_label"]
    assert dataset["fine_label"] == [19, 0]
    assert dataset["coarse_label"] == [11, 4]
    assert dataset.features["coarse_label"].int2str(11) == "large_omnivores_and_herbivores"


def test_cifar100_class_folders_get_their_superclass(tmp_path):
    names = vocabularies.load("cifar100").names
    for name in names:
        write_image(tmp_path / "test" / name.replace(" ", "_") / "a.png")
    files, _ = prepare("cifar100", tmp_path, tmp_path / "data")
    stored = rows(files[0])
    assert [row["fine_label"] for row in stored] == list(range(100))
    by_name = dict(zip(names, (row["coarse_label"] for row in stored), strict=True))
    # The twenty superclasses have five classes each; some whose place is easily mistaken:
    assert sorted(by_name.values()) == [coarse for coarse in range(20) for _ in range(5)]
    assert by_name["cattle"] == by_name["kangaroo"] == 11
    assert by_name["mushroom"] == by_name["sweet pepper"] == 4
    assert by_name["tank"] == by_name["lawn mower"] == 19
    assert by_name["ray"] == by_name["aquarium fish"] == 1


@pytest.mark.parametrize("name", ["airplane", "Airplane", "AIRPLANE"])
def test_class_folders_in_any_case(tmp_path, name):
    kept = write_image(tmp_path / "test" / name / "a.jpg")
    files, _ = prepare("cifar10", tmp_path, tmp_path / "data")
    assert rows(files[0]) == [{"img": {"bytes": kept, "path": "a.jpg"}, "label": 0}]


class Exploit:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_calls_something_is_refused_before_it_does(tmp_path):
    content = batch([1]) | {b"more": Exploit(tmp_path / "owned")}
    write_batches(tmp_path / "source", {"test_batch": content}, dump_by_python3(2))
    with pytest.raises(UserError, match=r"test_batch: expected a CIFAR batch, found a pickle with posix.mkdir in it"):
        prepare("cifar10", tmp_path / "source", tmp_path / "data")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray fromfile"])
def test_nothing_but_arrays_can_be_named(tmp_path, name):
    module, attribute = name.split()
    with pytest.raises(UserError, match=f"{module}.{attribute} in it"):
        load_arrays(f"\x80\x02c{module}\n{attribute}\n.".encode("latin-1"), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged pickle"),
        (b"not a pickle", "found a"),
        (python2_pickle(batch([1]))[:200], "found a"),
        (python2_pickle([1, 2]), r"expected a CIFAR batch \(a dict\), found a pickled list"),
        (python2_pickle({b"data": noise(1, 3072)}), "expected a batch of cifar10 with 'labels', found data"),
        (python2_pickle({b"data": noise(1, 3000), b"labels": [1]}), r"bytes of shape \(images, 3072\)"),
        (python2_pickle(batch([1, 2], labels=[1])), "expected 2 labels from 0 to 9"),
        (python2_pickle(batch([10])), "expected 1 labels from 0 to 9"),
    ],
)
def test_damaged_pickles(tmp_path, content, message):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match=f"test_batch: .*{message}"):
        prepare("cifar10", tmp_path, tmp_path / "data")


def test_damaged_archives(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz: cannot be read"):
        prepare("cifar10", tmp_path, tmp_path / "data")
    write_tar(archive, {"cifar-10-batches-py/test_batch": python2_pickle(batch([1]))})
    with pytest.raises(UserError, match=r"expected a file data_batch_1 in this archive, found none"):
        prepare("cifar10", tmp_path, tmp_path / "data")
    files, _ = prepare("cifar10", tmp_path, tmp_path / "data", split="test")
    assert len(rows(files[0])) == 1


def test_real_pictures_survive(tmp_path, real_data):
    """Real CIFAR-10 pictures, written out as class folders, come back byte for byte."""
    names = vocabularies.load("cifar10").names
    given = rows(real_data / "cifar10" / "test.parquet")
    for number, row in enumerate(given):
        folder = tmp_path / "test" / names[row["label"]]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.jpg").write_bytes(row["img"]["bytes"])
    files, _ = prepare("cifar10", tmp_path, tmp_path / "data")
    given.sort(key=lambda row: row["label"])
    stored = rows(files[0])
    assert [row["label"] for row in stored] == [row["label"] for row in given]
    assert [row["img"]["bytes"] for row in stored] == [row["img"]["bytes"] for row in given]
    assert np.asarray(load(files[0])[0]["img"]).shape == (32, 32, 3)
