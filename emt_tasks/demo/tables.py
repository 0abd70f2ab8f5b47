"""The demo's data sets as parquet files, which tasks and training read like any other.

| data set | images | asks | columns as in |
|---|---|---|---|
| `demo_digits` | digits | what type of object | MNIST |
| `demo_shapes` | shapes | what type of object | Flowers102 |
| `demo_digits_qa` | digits | parity, more than four, the next number: options A to D | ImageWikiQA |
| `demo_shapes_qa` | shapes | colour, corners, size: a short answer | OCR-VQA |

Splits: `train` asks every question about every image; `test` asks enough about each image for 400 documents.
"""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from emt_core.errors import UserError, listed
from emt_core.files import replacing
from emt_core.folders import user_cache
from emt_tasks.datasets.prepare.parquet import write_parquet
from emt_tasks.demo.digits import Digit, digits
from emt_tasks.demo.questions import (
    DIGIT_QUESTIONS,
    NUMBERS,
    SHAPE_QUESTIONS,
    about_digit,
    about_shape,
)
from emt_tasks.demo.shapes import Shape, shapes

NAMES = ("demo_digits", "demo_shapes", "demo_digits_qa", "demo_shapes_qa")
SPLITS = ("train", "test")

VERSION = 1
"""Part of the cache's path: increase it with every change to the rows."""

Row = dict[str, Any]


def cached(name: str, split: str) -> Path:
    """Return the parquet file of a data set, written on first use under $XDG_CACHE_HOME, by default ~/.cache.

    It is renamed into place when complete: two processes that write it at once leave the same file.

    Raises:
        UserError: no such data set or split, or the folder cannot be written to.
    """
    if split not in SPLITS:
        raise UserError(f"demo data {name!r} has no split {split!r}; choose one of {listed(SPLITS)}")
    file = user_cache() / "demo" / f"v{VERSION}" / name / f"{split}.parquet"
    if not file.is_file():
        features, documents = _table(name, split)
        with replacing([file]) as (partial,):
            write_parquet(partial, features, documents)
    return file


def _table(name: str, split: str) -> tuple[Any, list[Row]]:
    """Return a data set's columns and documents as a task reads them."""
    from datasets import Features, Sequence, Value
    from datasets import Image as ImageColumn

    text, image = Value("string"), {"image": ImageColumn()}
    if name in ("demo_digits", "demo_shapes"):
        images = digits(split) if name == "demo_digits" else shapes(split)
        documents = [{"image": _png(item.image), "label": item.label} for item in images]
        return Features({**image, "label": Value("int64")}), documents
    if name == "demo_digits_qa":
        return Features({**image, **dict.fromkeys(("image_path", "text", "label", "classname"), text)}), [
            {
                "image": _png(digit.image),
                "image_path": digit.name,
                "text": question,
                "label": label,
                "classname": NUMBERS[digit.label],
            }
            for digit, question, label in digit_questions(split)
        ]
    if name == "demo_shapes_qa":
        columns = {"image_id": text, "questions": Sequence(text), "answers": Sequence(text)}
        return Features({**image, **columns}), [
            {
                "image": _png(shape.image),
                "image_id": shape.name,
                "questions": [question for question, _ in asked],
                "answers": [answer for _, answer in asked],
            }
            for shape, asked in shape_questions(split)
        ]
    raise UserError(f"unknown demo data {name!r}; choose one of {', '.join(NAMES)}")


def digit_questions(split: str) -> list[tuple[Digit, str, str]]:
    """Return questions with the letters of their answers: all kinds per image; in the test split one, in turn."""
    kinds = list(DIGIT_QUESTIONS)
    asked = []
    for index, digit in enumerate(digits(split)):
        for kind in kinds if split == "train" else [kinds[index % len(kinds)]]:
            question, label = about_digit(digit.label, kind, Random(f"{digit.name} {kind}"))
            asked.append((digit, question.text, label))
    return asked


def shape_questions(split: str) -> list[tuple[Shape, list[tuple[str, str]]]]:
    """Return each image with its questions and answers: all kinds; in the test split, two in turn of every second."""
    kinds = list(SHAPE_QUESTIONS)
    if split == "train":
        return [(shape, [about_shape(shape, kind) for kind in kinds]) for shape in shapes(split)]
    # The first half has all kinds of shape equally often.
    half = shapes(split)[: len(shapes(split)) // 2]
    return [
        (shape, [about_shape(shape, kinds[(index + turn) % len(kinds)]) for turn in range(2)])
        for index, shape in enumerate(half)
    ]


def _png(image: Image.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}
