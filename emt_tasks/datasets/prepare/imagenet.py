"""ImageNet's validation images, in class folders or all in one, and miniImageNet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.folders import class_folders
from emt_tasks.datasets.prepare.imagenet_labels import LABELS_EXPECTED, find_labels, read_labels
from emt_tasks.datasets.prepare.labelled import label_features
from emt_tasks.datasets.prepare.layout import (
    DiskCopy,
    Found,
    Layout,
    Preparation,
    PreparedRow,
    Split,
    image_files,
    subfolders,
)

# The validation images within a copy of ImageNet: the folder itself, or torchvision's and Kaggle's layouts.
VALIDATION_FOLDERS = (
    "",
    "val",
    "validation",
    "ILSVRC2012_img_val",
    "CLS-LOC/val",
    "Data/CLS-LOC/val",
    "ILSVRC/Data/CLS-LOC/val",
)
_WNID = re.compile(r"n\d{8}")
# The hub's archive puts the wnid at the end of the name.
_VALIDATION_NAME = re.compile(r"(ILSVRC2012_val_\d{8})(?:_(n\d{8}))?\.jpe?g", re.IGNORECASE)
_TRAINING_NAME = re.compile(r"n\d{8}_\d+\.jpe?g", re.IGNORECASE)


def image_id(name: str) -> str | None:
    """Return a validation image's id, such as ILSVRC2012_val_00000293, from its file name."""
    match = _VALIDATION_NAME.fullmatch(name)
    return match[1] if match else None


def wnid_folders(folder: Path) -> list[Path]:
    """Return the folders within a folder that are named by a wnid."""
    return [path for path in subfolders(folder) if _WNID.fullmatch(path.name)]


def validation_folders(copy: DiskCopy) -> Iterator[Path]:
    """Yield the folders in which a copy of ImageNet may have its validation images."""
    folders = (copy.path / name for name in VALIDATION_FOLDERS)
    return (folder for folder in folders if folder.is_dir())


def flat_images(folder: Path) -> list[Path]:
    """Return the validation images directly in a folder, sorted by name."""
    return [path for path in image_files(folder) if image_id(path.name)]


def _class_of_wnid() -> dict[str, int]:
    return {label.wnid: label.index for label in vocabularies.load("imagenet1k").labels if label.wnid}


def _find_by_class(copy: DiskCopy) -> Found | None:
    for folder in validation_folders(copy):
        folders = wnid_folders(folder)
        if folders:
            return Found(f"{len(folders):,} wnid folders in {folder}", {"validation": partial(_read_by_class, folders)})
    return None


def _read_by_class(folders: list[Path]) -> Split:
    images = [(file, folder.name) for folder in folders for file in image_files(folder)]
    for file, _ in images:
        if _TRAINING_NAME.fullmatch(file.name):
            raise UserError(f"{file}: named like a training image; expected the validation images, ILSVRC2012_val_*")
    return _split(images)


def _find_flat(copy: DiskCopy) -> Found | None:
    for folder in validation_folders(copy):
        images = flat_images(folder)
        if images:
            return Found(
                f"{len(images):,} validation images in {folder}", {"validation": partial(_read_flat, copy, images)}
            )
    return None


def _read_flat(copy: DiskCopy, images: list[Path]) -> Split:
    in_names = {file: match[2] for file in images if (match := _VALIDATION_NAME.fullmatch(file.name)) and match[2]}
    if len(in_names) == len(images) and copy.annotations is None:
        return _split(list(in_names.items()))
    place = copy.annotations or find_labels(copy, images[0].parent)
    if place is None:
        raise UserError(
            f"{images[0].parent}: no labels for these images; "
            f"expected {LABELS_EXPECTED} beside them or given by --annotations"
        )
    wnids = read_labels(place)
    labelled = [(file, wnids.get(image_id(file.name) or "", "")) for file in images]
    unknown = next((file for file, wnid in labelled if not wnid), None)
    if unknown:
        raise UserError(f"{place}: no label for {unknown.name}; it has {len(wnids):,} labels")
    return _split(labelled)


def _split(images: list[tuple[Path, str]]) -> Split:
    """Turn files and their wnids into rows, ordered by file name whatever the folder."""
    classes = _class_of_wnid()
    images.sort(key=lambda image: image[0].name)
    return Split([PreparedRow(file, file.name, _columns(wnid, classes, file)) for file, wnid in images], len(images))


def _columns(wnid: str, classes: Mapping[str, int], file: Path) -> dict[str, int]:
    if wnid not in classes:
        raise UserError(f"{file}: {wnid} is not one of ImageNet-1k's {len(classes):,} wnids")
    return {"label": classes[wnid]}


def imagenet1k(dataset: Dataset) -> Preparation:
    """ImageNet's validation images."""
    wnid_folders = Layout("wnid folders", "wnid folders, val/n01440764/*.JPEG", _find_by_class)
    flat = Layout("flat", f"val/ILSVRC2012_val_*.JPEG with {LABELS_EXPECTED}", _find_flat)
    return Preparation(partial(label_features, dataset), (wnid_folders, flat))


def miniimagenet(dataset: Dataset) -> Preparation:
    """miniImageNet's, whose classes are named by wnid on the hub."""
    wnids = [str(label.wnid) for label in vocabularies.of(dataset).labels]
    return Preparation(partial(label_features, dataset, wnids), (class_folders(dataset),))
