"""Training images: fully decoded, or refused by name; and a fingerprint of their content."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from PIL import Image

from emt_core.errors import UserError, one_line
from emt_core.images import no_truncated_images


def decode(value: Any, where: str) -> Image.Image:
    """Return an image in RGB.

    Args:
        value: a PIL image, a path, or `{"bytes", "path"}` as in the hub's parquet files.
        where: the source and row, for the message.

    Raises:
        UserError: the image is missing, damaged or truncated.
    """
    try:
        with no_truncated_images():
            if isinstance(value, Image.Image):
                return value.convert("RGB")
            with Image.open(_file(value)) as image:
                decoded: Image.Image = image.convert("RGB")
                return decoded
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        # Without a file, Pillow names the bytes object, which helps nobody.
        reason = one_line(error).split(" <_io")[0].removesuffix(" file")
        raise UserError(f"{where}: the image cannot be read ({reason}); fix or drop this row") from error


def reduced(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """Return an image of at most so many pixels: a larger one is reduced, and keeps its proportions."""
    pixels = image.width * image.height
    if max_pixels is None or pixels <= max_pixels:
        return image
    scale = (max_pixels / pixels) ** 0.5
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def fingerprint(image: Image.Image) -> bytes:
    """Return a hash of an image's size and RGB pixels: equal for the same picture in another file or format."""
    pixels = image.convert("RGB")
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}:".encode())
    digest.update(pixels.tobytes())
    return digest.digest()


def encoded(value: Any, where: str) -> tuple[bytes, str]:
    """Return an image's file as stored, with its suffix; a picture without a file becomes a PNG.

    Raises:
        UserError: the image cannot be read.
    """
    image = decode(value, where)
    if not isinstance(value, Image.Image):
        file = _file(value)
        content = file.read_bytes() if isinstance(file, Path) else file.getvalue()
        with Image.open(io.BytesIO(content)) as opened:
            suffix = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}.get(opened.format or "")
        if suffix:
            return content, suffix
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _file(value: Any) -> Path | io.BytesIO:
    if isinstance(value, (str, Path)):
        return Path(value)
    if value is None:
        raise ValueError("it is missing")
    return io.BytesIO(value["bytes"]) if value.get("bytes") is not None else Path(value["path"])
