"""CIFAR-10 and CIFAR-100: Python pickles, as published by their author."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from emt_core.errors import UserError, listed
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.folders import class_folders
from emt_tasks.datasets.prepare.labelled import label_features
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split
from emt_tasks.datasets.prepare.pickles import load_arrays

_SIDE = 32

# CIFAR-100's 20 superclasses in index order, each with its five classes (Krizhevsky 2009, and the archive's `meta`).
_SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


@dataclass(frozen=True, slots=True)
class _Pickles:
    """The names in one of the two archives; `labels` maps our column to the pickle's key."""

    name: str
    folder: str
    archive: str
    batches: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    classes: Mapping[str, int]

    def find(self, copy: DiskCopy) -> Found | None:
        """Recognise the unpacked folder, or else the archive."""
        if copy.path.is_file():
            place = copy.path if copy.path.name.endswith((".tar.gz", ".tgz", ".tar")) else None
        else:
            folder = copy.path / self.folder
            unpacked = next((path for path in (copy.path, folder) if self._splits(path)), None)
            place = unpacked or copy.first(self.archive)
        if place is None:
            return None
        splits = self._splits(place) if place.is_dir() else list(self.batches)
        return Found(f"Python pickles in {place}", {split: partial(self._read, place, split) for split in splits})

    def _splits(self, folder: Path) -> list[str]:
        return [split for split, names in self.batches.items() if all((folder / name).is_file() for name in names)]

    def _read(self, place: Path, split: str) -> Split:
        batches = [
            self._check(load_arrays(data, place / name), place / name)
            for name, data in _read_files(place, self.batches[split]).items()
        ]
        examples = (example for batch in batches for example in self._examples(batch))
        return Split(examples, sum(len(batch["data"]) for batch in batches))

    def _check(self, batch: dict[str, Any], path: Path) -> dict[str, Any]:
        missing = [key for key in ("data", *self.labels.values()) if key not in batch]
        if missing:
            raise UserError(f"{path}: expected a batch of {self.name} with {missing[0]!r}, found {listed(batch)}")
        pixels = batch["data"]
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3 * _SIDE * _SIDE,):
            raise UserError(f"{path}: expected 'data' as bytes of shape (images, 3072)")
        for column, key in self.labels.items():
            labels, classes = batch[key], self.classes[column]
            if len(labels) != len(pixels) or not all(0 <= label < classes for label in labels):
                raise UserError(f"{path}: expected {len(pixels)} {key} from 0 to {classes - 1}")
        return batch

    def _examples(self, batch: dict[str, Any]) -> list[PreparedRow]:
        images = batch["data"].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        names = batch.get("filenames") or [None] * len(images)
        return [
            PreparedRow(image, _text(name), {column: int(batch[key][row]) for column, key in self.labels.items()})
            for row, (image, name) in enumerate(zip(images, names, strict=True))
        ]


def _text(name: str | bytes | None) -> str | None:
    return name.decode("utf-8") if isinstance(name, bytes) else name


def _read_files(place: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read files by name from a folder, or from an archive, in one pass and without unpacking it on disk."""
    try:
        if place.is_dir():
            return {name: (place / name).read_bytes() for name in names}
        found: dict[str, bytes] = {}
        with tarfile.open(place) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names and (file := archive.extractfile(member)):
                    found[name] = file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{place}: cannot be read: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{place}: expected a file {missing[0]} in this archive, found none")
    return {name: found[name] for name in names}


def _names(dataset: Dataset) -> list[str]:
    return [name.replace(" ", "_") for name in vocabularies.of(dataset).names]


def _features(dataset: Dataset) -> Any:
    return label_features(dataset, _names(dataset))


def _cifar100_features(dataset: Dataset) -> Any:
    from datasets import ClassLabel, Features

    return Features({**_features(dataset), "coarse_label": ClassLabel(names=list(_SUPERCLASSES))})


def _cifar100_columns(dataset: Dataset, index: int) -> dict[str, int]:
    name = _names(dataset)[index]
    coarse = next(place for place, members in enumerate(_SUPERCLASSES.values()) if name in members.split())
    return {"fine_label": index, "coarse_label": coarse}


_CIFAR10_PICKLES = _Pickles(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    batches={"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
    labels={"label": "labels"},
    classes={"label": 10},
)
_CIFAR100_PICKLES = _Pickles(
    name="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    batches={"train": ["train"], "test": ["test"]},
    labels={"fine_label": "fine_labels", "coarse_label": "coarse_labels"},
    classes={"fine_label": 100, "coarse_label": 20},
)


def cifar10(dataset: Dataset) -> Preparation:
    """CIFAR-10's."""
    pickles = Layout("Python pickles", "cifar-10-batches-py/ or cifar-10-python.tar.gz", _CIFAR10_PICKLES.find)
    return Preparation(partial(_features, dataset), (pickles, class_folders(dataset)))


def cifar100(dataset: Dataset) -> Preparation:
    """CIFAR-100's, with its superclasses."""
    pickles = Layout("Python pickles", "cifar-100-python/ or cifar-100-python.tar.gz", _CIFAR100_PICKLES.find)
    folders = class_folders(dataset, cache(partial(_cifar100_columns, dataset)))
    return Preparation(partial(_cifar100_features, dataset), (pickles, folders))
