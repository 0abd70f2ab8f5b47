"""Labels are matched by name, and what does not match is refused before a model is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value, load_dataset
from PIL import Image as Pillow

from emt_core.errors import UserError
from emt_tasks.datasets import checks, vocabularies
from emt_tasks.datasets.labels import class_indices
from emt_tasks.tasks import hooks

BACKWARDS = ClassLabel(names=list(reversed(vocabularies.load("cifar10").names)))


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Write CIFAR-10's test split with these labels; what `datasets` reads of it."""
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    file = tmp_path / "cifar10" / "test.parquet"
    file.parent.mkdir()

    def write(labels, feature):
        rows = {"img": [Pillow.new("RGB", (4, 4))] * len(labels), "label": labels}
        Dataset.from_dict(rows, features=Features(img=Image(), label=feature)).to_parquet(file)
        return load_dataset("parquet", data_files={"test": str(file)}, split="test", cache_dir=str(tmp_path / "cache"))

    return write


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([6, 1], BACKWARDS),  # of the names from truck to airplane, numbers 6 and 1 are cat and ship
        ([3, 8], ClassLabel(names=vocabularies.load("cifar10").names)),
        ([3, 8], ClassLabel(num_classes=10)),
        ([3, 8], Value("int64")),
        (["cat", "Ship"], Value("string")),
    ],
)
def test_documents_are_scored_against_the_class_that_the_file_names(cifar10, labels, feature):
    loaded = cifar10(labels, feature)
    checks.check_data(["emt_cifar10"])
    for documents in (hooks.cifar10_documents(loaded), hooks.cifar10_documents_lite(loaded)):
        assert [hooks.cifar10_target(document) for document in documents] == ["cat", "ship"]
        assert [document["row"] for document in documents] == [0, 1]
        (score,) = (hooks.cifar10_score(documents[0], [answer]) for answer in ["A cat."])
        assert score["accuracy"] == 1
        assert score["judge_target"]["label"] == 3


@pytest.mark.parametrize(
    ("labels", "feature", "message"),
    [
        ([0, -1], Value("int64"), r"test\.parquet: label, row 1: found -1, expected 0 to 9"),
        ([0, 3, 10], Value("int64"), r"label, row 2: found 10, expected 0 to 9"),
        ([-1], BACKWARDS, r"label, row 0: found -1, expected 0 to 9"),
        ([0, None], Value("int64"), r"label, row 1: found None, expected a class's number or name"),
        ([0.5], Value("float32"), r"label, row 0: found 0\.5, expected a class's number or name"),
        (["cat", "catt"], Value("string"), r"label: 'catt' is not a class of cifar10; the nearest are cat, "),
        (
            [0],
            ClassLabel(names=["cat", "spaceship"]),
            r"label: 'spaceship' is not a class of cifar10; the nearest are ship",
        ),
    ],
)
def test_labels_that_are_no_class_are_refused_before_a_model_is_loaded(cifar10, labels, feature, message):
    cifar10(labels, feature)
    with pytest.raises(UserError, match=message) as error:
        checks.check_data(["emt_cifar10"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "spelling", "number", "index"),
    [
        ("imagenet1k", "tench, Tinca tinca", 5, 0),
        ("imagenet1k", "n15075141", 5, 999),
        ("imagenet1k", "missile", 657, 657),
        ("imagenet1k", "projectile, missile", 744, 744),
        ("imagenet1k", "crane2", 517, 517),
        ("imagenet1k", "Cardigan, Cardigan Welsh corgi", 5, 264),
        ("miniimagenet", "n01532829", 5, 0),
        ("cifar100", "aquarium_fish", 5, 1),
        ("flowers102", "pink-yellow dahlia?", 5, 59),
    ],
)
def test_spellings_of_class_names(name, spelling, number, index):
    vocabulary = vocabularies.load(name)
    names = [label.wnid or label.name for label in vocabulary.labels]
    names[number] = spelling
    feature = SimpleNamespace(names=names)  # a ClassLabel, save that another class may have the name too
    assert class_indices([number], feature, vocabulary, "here") == [index]


def test_a_name_that_two_classes_share_is_refused_unless_the_number_tells():
    feature = ClassLabel(names=["crane"])
    with pytest.raises(UserError, match=r"'crane' could be class 134 \(crane bird\) or 517 \(construction crane\)"):
        class_indices([0], feature, vocabularies.load("imagenet1k"), "here")
