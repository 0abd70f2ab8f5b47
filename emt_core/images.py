"""Makes Pillow refuse truncated image files.

Importing lmms-eval switches that check off for the whole process: the missing part of a file then becomes grey
pixels, and a damaged image a wrong answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile

_lock = threading.Lock()
_inside = 0
_before = False


@contextmanager
def no_truncated_images() -> Iterator[None]:
    """Make Pillow refuse truncated files; several threads may be inside at once."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                ImageFile.LOAD_TRUNCATED_IMAGES = _before
