"""Handwritten digits: the 1,797 of scikit-learn (UCI's test set, CC BY 4.0), upscaled, with a fixed split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

SIZE = 32
"""Width and height of the demo's images in pixels."""

HELD_OUT = 40
"""How many images of each digit are kept for evaluation."""

_BRIGHTEST = 16  # scikit-learn's pixels count black cells of a 4×4 block


@dataclass(frozen=True, slots=True)
class Digit:
    """One handwritten digit: white on black, `SIZE` × `SIZE`, RGB; `name` is unique among all images."""

    name: str
    image: Image.Image
    label: int


@cache
def digits(split: str) -> tuple[Digit, ...]:
    """Return the digits of `train` (1,397) or `test` (400), in scikit-learn's order.

    The test split has those with the smallest content hash of each class: the choice depends only on the images
    themselves.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    by_class: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for index, (pixels, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        by_class[int(label)].append((hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest(), index))
    test = {index for members in by_class.values() for _, index in sorted(members)[:HELD_OUT]}
    chosen = [index for index in range(len(bunch.target)) if (index in test) == (split == "test")]
    return tuple(
        Digit(f"digits/{index:04}.png", _upscaled(bunch.images[index]), int(bunch.target[index])) for index in chosen
    )


def _upscaled(pixels: np.ndarray) -> Image.Image:
    """Return 8 × 8 values from 0 to 16 as an image of the demo's size."""
    grey = Image.fromarray(np.rint(pixels * 255 / _BRIGHTEST).astype(np.uint8))
    return grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB")
