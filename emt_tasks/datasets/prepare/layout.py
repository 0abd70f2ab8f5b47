"""What a data set can look like on disk, and what was found there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_ENTRIES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """One row of the future parquet file.

    `image` is an image file, whose bytes are kept as they are, or pixels, uint8 (height, width) or
    (height, width, 3), which are stored as PNG. `name` is the path that the image column gives beside the bytes;
    `columns` are all other columns.
    """

    image: Path | NDArray[np.uint8]
    name: str | None
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split, and the images that its annotations name but that are missing."""

    examples: Iterable[PreparedRow]
    count: int
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DiskCopy:
    """What the user points at: a folder (or an archive), the annotations if needed, and the split wanted."""

    path: Path
    annotations: Path | None = None
    split: str | None = None

    def first(self, *candidates: str) -> Path | None:
        """Return the first of these paths, relative to the copy, that exists."""
        paths = (self.path / candidate for candidate in candidates)
        return next((path for path in paths if path.exists()), None)


@dataclass(frozen=True, slots=True)
class Found:
    """A recognised layout: its description, and its splits, each read when called."""

    what: str
    splits: Mapping[str, Callable[[], Split]]


@dataclass(frozen=True, slots=True)
class Layout:
    """One form in which a data set is distributed.

    `find` returns None if the source does not look like it; if it does, but something is wrong, it raises a
    UserError.
    """

    name: str
    expects: str
    find: Callable[[DiskCopy], Found | None]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a data set is read from disk.

    `features` returns its columns as `datasets.Features`; `size_columns` names the columns for the image's width and
    height in pixels, if it has them.
    """

    features: Callable[[], Any]
    layouts: tuple[Layout, ...]
    size_columns: tuple[str, str] | None = None

    @property
    def expects(self) -> str:
        """A description of what a copy may look like."""
        return "; or ".join(layout.expects for layout in self.layouts)


def recognise(name: str, preparation: Preparation, copy: DiskCopy) -> Found:
    """Return the one layout of this copy of the data set.

    Raises:
        UserError: the source does not exist, or has no layout of this data set, or several.
    """
    if not copy.path.exists():
        raise UserError(f"{copy.path}: no such file or folder; expected a copy of {name}")
    if copy.annotations is not None and not copy.annotations.exists():
        raise UserError(f"{copy.annotations}: no such file or folder; expected the annotations of {name}")
    matches = [found for layout in preparation.layouts if (found := layout.find(copy))]
    if len(matches) > 1:
        both = " and ".join(found.what for found in matches)
        raise UserError(f"{copy.path}: contains {both}; give the one to read {name} from")
    if not matches:
        raise UserError(
            f"{copy.path}: no layout of {name} recognised in {contents(copy.path)}; expected {preparation.expects}"
        )
    return matches[0]


def contents(path: Path) -> str:
    """Describe a folder's contents in a few words."""
    if not path.is_dir():
        return "this file"
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in visible(path))
    if not names:
        return "this empty folder"
    more = f" and {len(names) - _ENTRIES_SHOWN} more" if len(names) > _ENTRIES_SHOWN else ""
    return ", ".join(names[:_ENTRIES_SHOWN]) + more


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return a folder's entries by name, without hidden ones and leftovers of unpacking on a Mac."""
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed: {error.strerror}") from error
    return sorted(kept, key=lambda entry: entry.name)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders within a folder, sorted by name."""
    return [Path(entry.path) for entry in visible(folder) if entry.is_dir()]


def image_files(folder: Path) -> list[Path]:
    """Return the image files within a folder, recognised by suffix and sorted by name."""
    return [
        Path(entry.path)
        for entry in visible(folder)
        if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()  # noqa: PTH122 - 50,000 files
    ]
