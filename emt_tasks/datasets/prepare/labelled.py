"""The columns of a data set of labelled images, as on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset


def label_features(dataset: Dataset, names: Sequence[str] | None = None) -> Any:
    """Return `datasets.Features` of an image and a class label; `names` are the vocabulary's if not given."""
    from datasets import ClassLabel, Features, Image, Value

    roles = dataset.columns.roles()
    names = list(names or vocabularies.of(dataset).names)
    # Two names repeat among ImageNet's 1,000 classes, which a ClassLabel does not allow.
    label = ClassLabel(names=names) if len(set(names)) == len(names) else Value("int64")
    return Features({roles["image"]: Image(), roles["label"]: label})
