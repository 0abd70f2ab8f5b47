"""A classification data set's training images at one size, in memory, for the experiment on collapse."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from emt_core.errors import UserError, listed
from emt_tasks.datasets import catalog, vocabularies
from finetune.collapse.training import Images
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry

NATIVE = {"mnist": 28, "cifar10": 32, "cifar100": 32, "miniimagenet": 84, "demo_digits": 32, "demo_shapes": 32}
"""Pixels to a side: those of the data set, and 84 for miniImageNet, as is usual (Vinyals et al. 2016)."""

OTHER = 64
"""Pixels to a side of any other data set."""


def read_images(data: str, size: int | None = None, limit: int | None = None) -> Images:
    """Return a data set's training images.

    Args:
        data: a classification data set's name.
        size: pixels to a side; by default the data set's own.
        limit: a stratified sample of so many.

    Raises:
        UserError: the data set is unknown, has no classes, or is not here.
    """
    known = catalog.get(data)
    if known.kind != "classification":
        named = [one.name for one in catalog.datasets().values() if one.kind == "classification"]
        raise UserError(f"{data} has no classes; expected one of {listed(named)}")
    names = tuple(label.name for label in vocabularies.load(data).labels)
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        raise UserError(f"{data} has classes of the same name, which cannot be told apart here")
    source = open_source(SourceEntry(data=data, answer="{label}", limit=limit))
    side = size or NATIVE.get(data, OTHER)
    pixels = np.empty((len(source), side, side, 3), dtype=np.uint8)
    classes = np.empty(len(source), dtype=np.int64)
    for place in tqdm(range(len(source)), desc=f"Reading {data}", unit="image", disable=None):
        example = source[place]
        image = example.load_images()[0]
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        pixels[place] = np.asarray(image)
        classes[place] = numbers[example.turns[0].answer]
    absent = [name for number, name in enumerate(names) if not (classes == number).any()]
    if absent:
        raise UserError(f"{data}: no training image of {listed(absent[:5])}; take a larger --limit")
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(classes), names)
