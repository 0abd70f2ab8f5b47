"""Images on their way into a parquet file: read or encoded, and decoded once to prove that they are intact."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from emt_core.errors import UserError, one_line
from emt_tasks.datasets.prepare.layout import PreparedRow

Item = TypeVar("Item")
Result = TypeVar("Result")

# What Pillow's decoders raise on damaged files.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image file's bytes, and its size in pixels."""

    data: bytes
    width: int
    height: int


def stored_image(example: PreparedRow) -> StoredImage:
    """Return the example's image file, byte for byte, or its pixels as PNG.

    Raises:
        UserError: the file is missing, or not an image, or damaged.
    """
    if not isinstance(example.image, Path):
        return _as_png(Image.fromarray(example.image))
    try:
        data = example.image.read_bytes()
    except OSError as error:
        raise UserError(f"{example.image}: cannot be read: {error.strerror}") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return StoredImage(data, *image.size)
    except _DECODE_ERRORS as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise UserError(f"{example.image}: expected a readable image, found {len(data)} bytes: {reason}") from error


def _as_png(image: Image.Image) -> StoredImage:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return StoredImage(buffer.getvalue(), *image.size)


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """Map in several threads, in order, at most a few items ahead of the consumer.

    `Executor.map` would read every image of ImageNet into memory if the disk is faster than the writer.
    """
    workers = min(8, os.cpu_count() or 1)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
