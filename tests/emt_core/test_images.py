"""Truncated images are refused, also where several threads decode at once, and lmms-eval's setting comes back."""

from __future__ import annotations

from PIL import ImageFile

from emt_core.images import no_truncated_images


def test_it_holds_until_the_last_one_leaves(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as lmms-eval leaves it
    first, second = no_truncated_images(), no_truncated_images()
    first.__enter__()
    second.__enter__()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    first.__exit__(None, None, None)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    second.__exit__(None, None, None)
    assert ImageFile.LOAD_TRUNCATED_IMAGES
