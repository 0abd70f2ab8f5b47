"""OCR-VQA (Mishra et al., ICDAR 2019): dataset.json, and the book covers under images/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from emt_core.errors import UserError, one_line
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split, image_files

_SPLITS = {"train": 1, "validation": 2, "test": 3}
_TEXTS = ("title", "authorName", "genre")


def _features() -> Any:
    from datasets import Features, Image, Sequence, Value

    # The hub's columns, except ocr_tokens and ocr_info, which dataset.json lacks.
    texts = {name: Value("string") for name in _TEXTS}
    return Features(
        {
            "image": Image(),
            "image_id": Value("string"),
            "questions": Sequence(Value("string")),
            "answers": Sequence(Value("string")),
            **texts,
            "image_width": Value("int64"),
            "image_height": Value("int64"),
            "image_url": Value("string"),
            "set_name": Value("string"),
        }
    )


def _find(copy: DiskCopy) -> Found | None:
    annotations = copy.annotations or copy.first("dataset.json")
    if annotations is None:
        return None
    images = copy.path / "images" if (copy.path / "images").is_dir() else copy.path
    splits = {split: partial(_read, annotations, images, split) for split in _SPLITS}
    return Found(f"questions in {annotations}, covers in {images}", splits)


def _read(annotations: Path, images: Path, split: str) -> Split:
    # A cover's suffix may differ from its address's: some have been converted since.
    files = image_files(images)
    by_name, by_id = {file.name: file for file in files}, {file.stem: file for file in reversed(files)}
    examples, missing = [], []
    for book, entry in sorted(_entries(annotations).items()):
        place = f"{annotations}: book {book}"
        if entry.get("split") not in _SPLITS.values():
            raise UserError(f"{place}: expected 1, 2 or 3 for 'split', found {entry.get('split')!r}")
        if entry["split"] != _SPLITS[split]:
            continue
        columns = _columns(book, entry, split, place)
        name = book + PurePosixPath(urlsplit(columns["image_url"] or "").path).suffix
        image = by_name.get(name) or by_id.get(book)
        if image is None:
            missing.append(name)
        else:
            examples.append(PreparedRow(image, image.name, columns))
    return Split(examples, len(examples), missing)


def _entries(annotations: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(annotations.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{annotations}: expected JSON: {one_line(error)}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"{annotations}: expected an object that maps each book's id to an object")
    return entries


def _columns(book: str, entry: Mapping[str, Any], split: str, place: str) -> dict[str, Any]:
    questions, answers = entry.get("questions"), entry.get("answers")
    if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
        raise UserError(f"{place}: expected two lists of equal length for 'questions' and 'answers'")
    return {
        "image_id": book,
        "questions": [str(question) for question in questions],
        "answers": [str(answer) for answer in answers],
        **{name: entry.get(name) for name in _TEXTS},
        "image_url": entry.get("imageURL"),
        "set_name": split,
    }


def preparation(_dataset: Dataset) -> Preparation:
    """OCR-VQA's."""
    layout = Layout("JSON and covers", "dataset.json with images/BOOK.jpg (or .gif, .png)", _find)
    return Preparation(_features, (layout,), size_columns=("image_width", "image_height"))
