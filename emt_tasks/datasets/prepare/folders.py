"""Class folders, SPLIT/CLASS/*.png: the layout that any classification data set may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, PreparedRow, Split, image_files, subfolders
from judges import Vocabulary

_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_NAMES_SHOWN = 5


def class_folders(dataset: Dataset, columns: Callable[[int], Mapping[str, Any]] | None = None) -> Layout:
    """Return the layout of class folders for a classification data set.

    Folders are named after the class or its wnid. `columns` turns a class's index into the row's columns, if there
    are more than the label.
    """
    vocabulary, label = vocabularies.of(dataset), dataset.columns.roles()["label"]
    splits = tuple(dataset.rows) or tuple(_SPLIT_FOLDERS)
    columns = columns or (lambda index: {label: index})

    def find(copy: DiskCopy) -> Found | None:
        if not copy.path.is_dir():
            return None
        classes = class_indices(vocabulary)
        found = _split_folders(copy, splits) or _bare_folders(copy, splits, classes, dataset.name)
        if not found:
            return None
        what = f"class folders in {', '.join(str(folder) for folder in found.values())}"
        return Found(
            what, {split: partial(_read, folder, classes, columns, dataset.name) for split, folder in found.items()}
        )

    first = vocabulary.names[0]
    example = f"{splits[-1]}/{first.replace(' ', '_')}/*.png or *.jpg"
    return Layout("class folders", f"class folders, such as {example}", find)


def class_indices(vocabulary: Vocabulary) -> dict[str, int]:
    """Map folder names, normalised by `folder_key`, to class indices; names shared by two classes are left out."""
    wnids = {label.wnid: label.index for label in vocabulary.labels if label.wnid}
    names = {
        folder_key(label.name): label.index for label in vocabulary.labels if len(vocabulary.named(label.name)) == 1
    }
    return names | wnids


def folder_key(name: str) -> str:
    """Normalise a folder name for comparison: case, underscores and hyphens do not matter."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _split_folders(copy: DiskCopy, splits: Sequence[str]) -> dict[str, Path]:
    """The folder of each split; it must contain folders (CIFAR-100's pickles are files called train and test)."""
    found = {}
    for split in splits:
        folders = [copy.path / name for name in _SPLIT_FOLDERS[split]]
        present = [folder for folder in folders if folder.is_dir() and subfolders(folder)]
        if len(present) > 1:
            raise UserError(
                f"{copy.path}: both {present[0].name}/ and {present[1].name}/ could be {split}; keep only one"
            )
        if present:
            found[split] = present[0]
    return found


def _bare_folders(copy: DiskCopy, splits: Sequence[str], classes: Mapping[str, int], name: str) -> dict[str, Path]:
    """Class folders without a split folder above them: the user says which split they are."""
    if not any(folder_key(folder.name) in classes for folder in subfolders(copy.path)):
        return {}
    if copy.split is None:
        raise UserError(
            f"{copy.path}: class folders of {name} without a split folder above them; "
            f"say which split they are with --split {'|'.join(splits)}"
        )
    return {copy.split: copy.path}


def _read(folder: Path, classes: Mapping[str, int], columns: Callable[[int], Mapping[str, Any]], name: str) -> Split:
    images: list[tuple[int, Path]] = []
    for subfolder in subfolders(folder):
        index = classes.get(folder_key(subfolder.name))
        if index is None:
            raise UserError(f"{subfolder}: not a class of {name}; expected {_some(classes)}")
        files = image_files(subfolder)
        if not files:
            raise UserError(f"{subfolder}: expected images in this class folder, found none")
        images += ((index, file) for file in files)
    images.sort(key=lambda image: (image[0], image[1].name))
    return Split([PreparedRow(file, file.name, columns(index)) for index, file in images], len(images))


def _some(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_NAMES_SHOWN]) + ", …"
