"""What the small model's vision tower knows by itself: linear probes of its features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from tools.evidence.data import THINGS, open_image

PROBED = {"emt_cifar10": ("cifar10", "img"), "emt_mnist": ("mnist", "image"), THINGS: (THINGS, "image")}
TRAINING_IMAGES = 5000
"""As many as the alignment asked about: the probe and the model have seen the same."""

_BATCH = 50


def measure(model: Path, folders: Sequence[Path], out: Path) -> Path:
    """Write which test documents of each task the encoder gets right; do nothing if that is there.

    Args:
        model: the small model, whose tower is frozen.
        folders: where the data sets are.
        out: a JSON file; maps a task to 0 or 1 for each document.
    """
    if out.is_file():
        return out
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from transformers import AutoModelForImageTextToText, AutoProcessor

    tower = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).model.vision_tower
    processor = AutoProcessor.from_pretrained(model).image_processor
    right: dict[str, list[int]] = {}
    for task, (name, column) in PROBED.items():
        (folder,) = (folder / name for folder in folders if (folder / name).is_dir())
        train, test = (_features(tower, processor, folder / f"{split}.parquet", column, count)
                       for split, count in (("train", TRAINING_IMAGES), ("test", None)))  # fmt: skip
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(*train)
        right[task] = (probe.predict(test[0]) == test[1]).astype(int).tolist()
    out.write_text(json.dumps(right), encoding="utf-8")
    return out


@torch.inference_mode()
def _features(
    tower: Any, processor: Any, file: Path, column: str, count: int | None
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the mean over positions of each image's features, (images, channels), and the labels."""
    table = pq.read_table(file).slice(0, count)
    found = []
    for images in _batches(table[column].to_pylist()):
        pixels = processor(list(map(open_image, images)), return_tensors="pt")["pixel_values"]
        maps = tower(pixels).last_hidden_state
        found.append(maps.flatten(2).mean(-1).numpy())
    return np.concatenate(found), table["label"].to_numpy()


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
