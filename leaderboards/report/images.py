"""Thumbnails of the documents' images, from the parquet file that the run was made with."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from emt_core.errors import one_line
from emt_core.images import no_truncated_images
from emt_core.runs import Task

LONGEST_SIDE = 160
"""Pixels of a thumbnail's longer side; a smaller image stays as it is."""

BUDGET = 8_000_000
"""Bytes of all thumbnails in one report, as base64."""

_SHOWN = ("JPEG", "PNG", "WEBP", "GIF")
"""Formats that every browser shows."""

_QUALITY = 70
_TINY = 80
"""Pixels of the longer side below which an image is kept as it is: a page enlarges it, and its artefacts with it."""


class Thumbnails:
    """The images of one report, each once.

    `uris` holds them as data URIs; `of` returns indices into it, or says why there is no image.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.uris: list[str] = []
        self._places: dict[str, int] = {}
        self._known: dict[tuple[Path, int], int | str] = {}
        self._left = budget

    def of(self, task: Task, rows: Iterable[int | None]) -> dict[int | None, int | str]:
        """Return the index of each data set row's thumbnail, or why there is none."""
        source = find_data(task)
        wanted = list(dict.fromkeys(rows))
        if isinstance(source, str):
            return dict.fromkeys(wanted, source)
        known = [row for row in wanted if row is not None]
        missing = [row for row in known if (source, row) not in self._known]
        for row, image in read_images(source, missing).items():
            self._known[source, row] = self._add(image) if isinstance(image, bytes) else image
        found: dict[int | None, int | str] = {row: self._known[source, row] for row in known}
        return {None: "the run does not say which row of the data set this is"} | found

    def _add(self, image: bytes) -> int | str:
        digest = hashlib.sha256(image).hexdigest()
        if digest in self._places:
            return self._places[digest]
        uri = shrink(image)
        if uri is None:
            return "the image cannot be read"
        if len(uri) > self._left:
            return "left out to keep the report small"
        self._left -= len(uri)
        self._places[digest] = len(self.uris)
        self.uris.append(uri)
        return self._places[digest]


def find_data(task: Task) -> Path | str:
    """Return the parquet file that a task was evaluated on, or one line that says why it cannot be had."""
    recorded = recorded_data(task)
    return recorded if isinstance(recorded, str) else locate(recorded)


def recorded_data(task: Task) -> Path | str:
    """Return the parquet file that a run names, wherever that is, or one line that says why it names none."""
    config = task.config
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    split = config.get("test_split") or config.get("validation_split")
    recorded = files.get(split) if isinstance(files, Mapping) else files
    if config.get("dataset_path") != "parquet" or not isinstance(recorded, str):
        return "the data set was not read from a parquet file; set EMT_DATA_DIR when evaluating"
    return Path(recorded)


def locate(recorded: Path) -> Path | str:
    """Return a recorded file, looked for by its last two parts under $EMT_DATA_DIR too, or why it is not here."""
    root = os.environ.get("EMT_DATA_DIR")
    places = [recorded] + ([Path(root).expanduser().joinpath(*recorded.parts[-2:])] if root else [])
    found = next((place for place in places if place.is_file()), None)
    return found or f"{recorded.name} of the data set is not on this machine; set EMT_DATA_DIR to where it is"


def shrink(image: bytes) -> str | None:
    """Return a thumbnail as a data URI; None if Pillow cannot read the bytes as a whole image."""
    try:
        with no_truncated_images(), Image.open(io.BytesIO(image)) as opened:
            opened.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            small = opened.convert("RGB")  # as the tasks show it to the models
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    kind, options = ("png", {}) if max(small.size) < _TINY else ("jpeg", {"quality": _QUALITY})
    buffer = io.BytesIO()
    small.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def as_shown(image: bytes) -> tuple[bytes, str] | str:
    """Return an image and its media type as a browser shows it, or that it cannot be read.

    What a browser may not show, or may take for something else than an image, is turned into a PNG. Of what it can
    show only the header is read here.
    """
    try:
        with no_truncated_images(), Image.open(io.BytesIO(image)) as opened:
            if opened.format in _SHOWN:
                return image, Image.MIME[opened.format]
            buffer = io.BytesIO()
            opened.convert("RGB").save(buffer, "png")
            return buffer.getvalue(), "image/png"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "the image cannot be read"


def read_images(path: Path, rows: list[int]) -> dict[int, bytes | str]:
    """Return the encoded images of these rows, or why one cannot be had; reads no more than their row groups."""
    if not rows:
        return {}
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            column = next((field.name for field in file.schema_arrow if _holds_images(field.type)), None)
            if column is None:
                return dict.fromkeys(rows, f"{path.name} has no image column")
            images: dict[int, bytes | str] = dict.fromkeys(rows, f"{path.name} has no such row")
            for group, places in _by_group(file, rows).items():
                values = file.read_row_group(group, columns=[column]).column(column)
                images |= {row: _encoded(values[place].as_py()) for row, place in places.items()}
            return images
    except (OSError, pa.ArrowException) as error:
        return dict.fromkeys(rows, f"{path.name} cannot be read: {one_line(error)}")


def _holds_images(kind: Any) -> bool:
    """Whether a column has the type of images in `datasets`, encoded bytes and a path; or bytes alone."""
    if pa.types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _by_group(file: Any, rows: list[int]) -> dict[int, dict[int, int]]:
    """Return the wanted rows of each row group, each with its position there."""
    groups: dict[int, dict[int, int]] = defaultdict(dict)
    start = 0
    for group in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        for row in rows:
            if start <= row < start + size:
                groups[group][row] = row - start
        start += size
    return groups


def _encoded(value: Any) -> bytes | str:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else "the data set has only the image's path"
