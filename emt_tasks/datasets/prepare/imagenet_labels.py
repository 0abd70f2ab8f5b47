"""The labels of ImageNet's validation images: the development kit's ground truth, or Kaggle's solution file."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

from emt_core.errors import UserError, listed
from emt_tasks.datasets.prepare.layout import DiskCopy
from emt_tasks.datasets.prepare.matlab import read_matlab

LABELS_EXPECTED = "ILSVRC2012_devkit_t12 (folder or .tar.gz) or LOC_val_solution.csv"
_META, _GROUND_TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"
_NAMES = (
    "ILSVRC2012_devkit_t12",
    "ILSVRC2012_devkit_t12.tar.gz",
    "devkit",
    "LOC_val_solution.csv",
    _GROUND_TRUTH,
)


def find_labels(copy: DiskCopy, images: Path) -> Path | None:
    """Look for the labels in the copy, beside the image folder, and in it."""
    folders = dict.fromkeys((copy.path, images.parent, images))
    return next((folder / name for folder in folders for name in _NAMES if (folder / name).exists()), None)


def read_labels(place: Path) -> dict[str, str]:
    """Map validation images' ids, ILSVRC2012_val_00000001 and on, to wnids.

    `place` is the development kit (its folder, its data folder, its archive or its ground-truth file) or Kaggle's
    LOC_val_solution.csv.

    Raises:
        UserError: the file is none of these, or damaged.
    """
    if place.suffix == ".csv":
        return _kaggle(place)
    ids = _synset_ids(place)
    truth = _read(place, _GROUND_TRUTH).decode("ascii", "replace").split()
    labels = {}
    for number, line in enumerate(truth, start=1):
        if not line.isdigit() or int(line) not in ids:
            raise UserError(f"{place}: {_GROUND_TRUTH}, line {number}: expected an id of {_META}, found {line!r}")
        labels[f"ILSVRC2012_val_{number:08d}"] = ids[int(line)]
    return labels


def _kaggle(path: Path) -> dict[str, str]:
    """Read rows such as ILSVRC2012_val_00048981,n03995372 85 1 499 272: an image, then its boxes, all of one class."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or not {"ImageId", "PredictionString"} <= set(rows.fieldnames):
            raise UserError(f"{path}: expected the columns ImageId and PredictionString, found {rows.fieldnames}")
        return {row["ImageId"]: (row["PredictionString"] or "").split(" ", 1)[0] for row in rows}


def _synset_ids(place: Path) -> dict[int, str]:
    """The kit's own ids, which do not follow the order of the wnids, from its meta.mat."""
    synsets = read_matlab(io.BytesIO(_read(place, _META)), f"{place}: {_META}", "synsets")
    fields = synsets.dtype.names or ()
    if not {"ILSVRC2012_ID", "WNID"} <= set(fields):
        raise UserError(f"{place}: {_META}: expected synsets with ILSVRC2012_ID and WNID, found {listed(fields)}")
    pairs = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
    return {int(number): str(wnid) for number, wnid in pairs}


def _read(place: Path, name: str) -> bytes:
    """Read one file of the development kit."""
    if place.is_file() and place.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            with tarfile.open(place) as archive:
                for member in archive:
                    if Path(member.name).name == name and (file := archive.extractfile(member)):
                        return file.read()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise UserError(f"{place}: cannot be read: {error}") from error
    folder = place.parent if place.is_file() else place
    for path in (folder / name, folder / "data" / name):
        if path.is_file():
            return path.read_bytes()
    raise UserError(f"{place}: no {name} found; expected {LABELS_EXPECTED}")
