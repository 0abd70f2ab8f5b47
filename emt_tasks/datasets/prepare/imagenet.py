"""ImageNet's validation images, by class folder or all in one, and miniImageNet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.prepare.folders import class_folders
from emt_tasks.datasets.prepare.imagenet_labels import LABELS_EXPECTED, find_labels, read_labels
from emt_tasks.datasets.prepare.layout import DataSet, Example, Found, Layout, Source, Split, image_files, subfolders

# The validation images within a copy of ImageNet: the folder itself, or as torchvision and Kaggle have it.
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
    """Return the folders within a folder that bear a wnid."""
    return [path for path in subfolders(folder) if _WNID.fullmatch(path.name)]


def validation_folders(source: Source) -> Iterator[Path]:
    """Yield the folders in which a copy of ImageNet may have its validation images."""
    folders = (source.path / name for name in VALIDATION_FOLDERS)
    return (folder for folder in folders if folder.is_dir())


def flat_images(folder: Path) -> list[Path]:
    """Return the validation images that lie in a folder itself, sorted by name."""
    return [path for path in image_files(folder) if image_id(path.name)]


def _features() -> Any:
    from datasets import Features, Image, Value

    # Two names repeat among the 1,000 classes, which a ClassLabel does not allow.
    return Features({"image": Image(), "label": Value("int64")})


def _class_of_wnid() -> dict[str, int]:
    return {label.wnid: label.index for label in vocabularies.load("imagenet1k").labels if label.wnid}


def _find_by_class(source: Source) -> Found | None:
    for folder in validation_folders(source):
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


def _find_flat(source: Source) -> Found | None:
    for folder in validation_folders(source):
        images = flat_images(folder)
        if images:
            return Found(
                f"{len(images):,} validation images in {folder}", {"validation": partial(_read_flat, source, images)}
            )
    return None


def _read_flat(source: Source, images: list[Path]) -> Split:
    in_names = {file: match[2] for file in images if (match := _VALIDATION_NAME.fullmatch(file.name)) and match[2]}
    if len(in_names) == len(images) and source.annotations is None:
        return _split(list(in_names.items()))
    place = source.annotations or find_labels(source, images[0].parent)
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
    """Turn files and their wnids into rows in the order of the files' names, whatever folders they lie in."""
    classes = _class_of_wnid()
    images.sort(key=lambda image: image[0].name)
    return Split([Example(file, file.name, _columns(wnid, classes, file)) for file, wnid in images], len(images))


def _columns(wnid: str, classes: Mapping[str, int], file: Path) -> dict[str, int]:
    if wnid not in classes:
        raise UserError(f"{file}: {wnid} is not one of ImageNet-1k's {len(classes):,} wnids")
    return {"label": classes[wnid]}


def _mini_features() -> Any:
    from datasets import ClassLabel, Features, Image

    wnids = [label.wnid for label in vocabularies.load("miniimagenet").labels]
    return Features({"image": Image(), "label": ClassLabel(names=wnids)})


IMAGENET = DataSet(
    name="imagenet1k",
    rows={"validation": 50_000},
    features=_features,
    layouts=(
        Layout("wnid folders", "wnid folders, val/n01440764/*.JPEG", _find_by_class),
        Layout("flat", f"val/ILSVRC2012_val_*.JPEG with {LABELS_EXPECTED}", _find_flat),
    ),
)
MINI_IMAGENET = DataSet(
    name="miniimagenet",
    rows={"train": 50_000, "validation": 10_000, "test": 5_000},
    features=_mini_features,
    layouts=(class_folders("miniimagenet", ("train", "validation", "test"), lambda index: {"label": index}),),
)
