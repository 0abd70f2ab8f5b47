"""Oxford Flowers 102: jpg/ with imagelabels.mat and setid.mat, as published by its authors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.labelled import label_features
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split
from emt_tasks.datasets.prepare.matlab import read_matlab

# The authors' own lists: the test set is the large one (some papers have trained on it instead).
_LISTS = {"train": "trnid", "validation": "valid", "test": "tstid"}


def _find(copy: DiskCopy) -> Found | None:
    # The second is where torchvision puts it.
    for folder in (copy.path, copy.path / "flowers-102"):
        if (folder / "setid.mat").is_file() and (folder / "imagelabels.mat").is_file() and (folder / "jpg").is_dir():
            return Found(
                f"jpg/, imagelabels.mat and setid.mat in {folder}",
                {split: partial(_read, folder, split) for split in _LISTS},
            )
    return None


def _read(folder: Path, split: str) -> Split:
    labels_file, lists_file = folder / "imagelabels.mat", folder / "setid.mat"
    labels = read_matlab(labels_file, str(labels_file), "labels")
    numbers = read_matlab(lists_file, str(lists_file), _LISTS[split])
    classes = len(vocabularies.load("flowers102").labels)
    examples, missing = [], []
    for number in sorted(int(number) for number in numbers):
        if not 1 <= number <= len(labels):
            raise UserError(f"{lists_file}: {_LISTS[split]} names image {number}; expected 1 to {len(labels)}")
        label = int(labels[number - 1]) - 1
        if not 0 <= label < classes:
            raise UserError(f"{labels_file}: image {number} has label {label + 1}; expected 1 to {classes}")
        file = folder / "jpg" / f"image_{number:05d}.jpg"
        if file.is_file():
            examples.append(PreparedRow(file, file.name, {"label": label}))
        else:
            missing.append(file.name)
    return Split(examples, len(examples), missing)


def preparation(dataset: Dataset) -> Preparation:
    """Flowers 102's."""
    layout = Layout("jpg and MATLAB files", "jpg/image_00001.jpg … with imagelabels.mat and setid.mat", _find)
    return Preparation(partial(label_features, dataset), (layout,))
