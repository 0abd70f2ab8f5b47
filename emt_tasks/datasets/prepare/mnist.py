"""MNIST: IDX files, as published by its authors."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emt_core.errors import UserError
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.folders import class_folders
from emt_tasks.datasets.prepare.labelled import label_features
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PREFIXES = {"train": "train", "test": "t10k"}
# The folder itself, and where torchvision puts the files.
_FOLDERS = ("", "raw", "MNIST/raw")
_UNSIGNED_BYTE = 8


def _find(copy: DiskCopy) -> Found | None:
    for folder in _FOLDERS:
        images = {split: _file(copy.path / folder, f"{prefix}-images", 3) for split, prefix in _PREFIXES.items()}
        splits = {split: partial(_read, split, path) for split, path in images.items() if path}
        if splits:
            return Found(f"IDX files in {copy.path / folder}", splits)
    return None


def _file(folder: Path, stem: str, dimensions: int) -> Path | None:
    """Find an IDX file, unpacked or packed, under either spelling of its name."""
    names = (f"{stem}{separator}idx{dimensions}-ubyte" for separator in "-.")
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _read(split: str, images_file: Path) -> Split:
    stem = f"{_PREFIXES[split]}-labels"
    labels_file = _file(images_file.parent, stem, 1)
    if labels_file is None:
        raise UserError(f"{images_file}: no labels beside it; expected {stem}-idx1-ubyte, plain or .gz")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise UserError(f"{labels_file}: {len(labels)} labels for the {len(images)} images of {images_file.name}")
    if labels.size and labels.max() > 9:
        raise UserError(f"{labels_file}: expected labels 0 to 9, found {labels.max()}")
    examples = (PreparedRow(image, None, {"label": int(label)}) for image, label in zip(images, labels, strict=True))
    return Split(examples, len(images))


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    The header: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension's size
    as a big-endian 32-bit integer.

    Raises:
        UserError: the file is damaged, or of another type or other dimensions.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked: {error}") from error
    header = 4 * (1 + dimensions)
    if data[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)) or len(data) < header:
        raise UserError(f"{path}: expected an IDX file of unsigned bytes, {dimensions} dimensions, found {data[:4]!r}")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise UserError(f"{path}: expected {math.prod(shape):,} bytes for shape {shape}, found {len(data) - header:,}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def preparation(dataset: Dataset) -> Preparation:
    """MNIST's."""
    expects = "IDX files, such as t10k-images-idx3-ubyte with t10k-labels-idx1-ubyte (plain or .gz)"
    return Preparation(partial(label_features, dataset), (Layout("IDX files", expects, _find), class_folders(dataset)))
