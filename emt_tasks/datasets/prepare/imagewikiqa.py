"""ImageWikiQA (arXiv 2405.18415): its JSONL, and the ImageNet validation images that its rows name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import jsonlines

from emt_core.errors import UserError, one_line
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare.imagenet import flat_images, image_id, validation_folders, wnid_folders
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Layout, Preparation, PreparedRow, Split, image_files

_FILE = "imagewikiqa.jsonl"


def _features() -> Any:
    from datasets import Features, Image, Value

    text = ("image_path", "text", "label", "wiki", "classname")
    return Features({"image": Image(), **{name: Value("string") for name in text}})


def _find(copy: DiskCopy) -> Found | None:
    questions = copy.annotations or copy.first(_FILE, f"data/{_FILE}")
    if questions is None:
        return None
    return Found(f"questions in {questions}", {"test": partial(_read, copy, questions)})


def _read(copy: DiskCopy, questions: Path) -> Split:
    images = _index(copy)
    rows = _rows(questions)
    examples, missing = [], []
    for columns in rows:
        name = PurePosixPath(columns["image_path"]).name
        image = images.get(image_id(name) or name)
        if image is None:
            missing.append(name)
        else:
            examples.append(PreparedRow(image, image.name, columns))
    return Split(examples, len(examples), missing)


def _index(copy: DiskCopy) -> dict[str, Path]:
    """Map image ids to files, in one folder or in wnid folders."""
    files: dict[str, Path] = {}
    images = copy.path / "images"
    for folder in (*validation_folders(copy), *([images] if images.is_dir() else [])):
        nested = (file for subfolder in wnid_folders(folder) for file in image_files(subfolder))
        for file in (*flat_images(folder), *nested):
            files.setdefault(image_id(file.name) or file.name, file)
    if not files:
        raise UserError(f"{copy.path}: no ImageNet validation images; expected val/ with ILSVRC2012_val_*.JPEG in it")
    return files


def _rows(questions: Path) -> list[dict[str, Any]]:
    try:
        with jsonlines.open(questions) as reader:
            return [_columns(row, f"{questions}, line {number}") for number, row in enumerate(reader.iter(dict), 1)]
    except (jsonlines.InvalidLineError, UnicodeDecodeError) as error:
        raise UserError(f"{questions}: expected one JSON object per line: {one_line(error)}") from error


def _columns(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Turn a row of the release into columns.

    The first release gave a path on its authors' disk for the image, and the class only within the question's id,
    stretcher_C_question767_image3.
    """
    path = row.get("image_path", row.get("image"))
    name = row.get("classname") or str(row.get("question_id", "")).rsplit("_", 3)[0]
    required = {"image": path, "text": row.get("text"), "label": row.get("label"), "classname": name}
    for key, value in required.items():
        if not isinstance(value, str) or not value:
            raise UserError(f"{place}: expected text for {key!r}, found {value!r}")
    if row["label"] not in ("A", "B", "C", "D"):
        raise UserError(f"{place}: expected A, B, C or D for 'label', found {row['label']!r}")
    return {
        "image_path": f"images/{PurePosixPath(str(path)).name}",
        "text": row["text"],
        "label": row["label"],
        "wiki": row.get("wiki"),
        "classname": name,
    }


def preparation(_dataset: Dataset) -> Preparation:
    """ImageWikiQA's."""
    expects = (
        f"ImageNet's validation images, in wnid folders or not, with {_FILE} in the folder or given by --annotations"
    )
    return Preparation(_features, (Layout("JSONL and ImageNet", expects, _find),))
