"""Write small data sets in the columns of the hub's, to try the tasks without downloading anything.

Run: python -m tests.support.sample_data FOLDER, then EMT_DATA_DIR=FOLDER. The digits are scikit-learn's real ones; all
other images are drawn from a seed, so no model can know their classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, Sequence, Value
from PIL import Image as PIL
from PIL import ImageDraw

INT, TEXT = Value("int64"), Value("string")


def write_all(folder: Path, size: int = 20, seed: int = 0) -> Path:
    """Write every data set that our tasks read, `size` rows each, as FOLDER/NAME/SPLIT.parquet."""
    rng = np.random.default_rng(seed)
    drawn = [_drawing(rng) for _ in range(size)]
    _write(folder / "mnist" / "test.parquet", _digits(size), image=Image(), label=INT)
    for name, split, classes, image, label in (
        ("cifar10", "test", 10, "img", "label"),
        ("cifar100", "test", 100, "img", "fine_label"),
        ("miniimagenet", "validation", 100, "image", "label"),
        ("imagenet1k", "validation", 1000, "image", "label"),
        ("flowers102", "test", 102, "image", "label"),
    ):
        rows = [{image: drawing, label: index * 7 % classes} for index, drawing in enumerate(drawn)]
        _write(folder / name / f"{split}.parquet", rows, **{image: Image(), label: INT})
    _write(
        folder / "imagewikiqa" / "test.parquet",
        [_question(index, drawing) for index, drawing in enumerate(drawn)],
        image=Image(),
        **dict.fromkeys(("image_path", "text", "label", "wiki", "classname"), TEXT),
    )
    _write(
        folder / "ocr_vqa" / "test.parquet",
        [_book(index, drawing) for index, drawing in enumerate(drawn)],
        image=Image(),
        image_id=TEXT,
        questions=Sequence(TEXT),
        answers=Sequence(TEXT),
    )
    return folder


def _write(file: Path, rows: list[dict[str, Any]], **features: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(file)


def _digits(size: int) -> list[dict[str, Any]]:
    """Real handwritten digits, 8 by 8 pixels enlarged to 28 by 28."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [
        {"image": PIL.fromarray((digits.images[index] * 15.9).astype(np.uint8)).resize((28, 28)), "label": int(label)}
        for index, label in zip(range(size), digits.target, strict=False)
    ]


def _drawing(rng: np.random.Generator) -> PIL.Image:
    image = PIL.new("RGB", (64, 48), tuple(rng.integers(0, 256, 3).tolist()))
    left, top = rng.integers(0, 20, 2).tolist()
    ImageDraw.Draw(image).ellipse((left, top, left + 25, top + 20), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def _question(index: int, image: PIL.Image) -> dict[str, Any]:
    return {
        "image": image,
        "image_path": f"images/ILSVRC2012_val_{index:08d}.JPEG",
        "text": f"Where is number {index} of this object found?\nA. Africa\nB. Asia\nC. Europe\nD. Oceania\n"
        "Choose A, B, C, or D.",
        "label": "ABCD"[index % 4],
        "wiki": "",
        "classname": "tench",
    }


def _book(index: int, image: PIL.Image) -> dict[str, Any]:
    questions = ("Who wrote this book?", "What is the year printed on this calendar?", "Is this book about history?")
    answers = (f"Author Number {index}", str(1990 + index), ("Yes", "No")[index % 2])
    return {"image": image, "image_id": f"{index:09d}", "questions": list(questions), "answers": list(answers)}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=20, help="rows of each data set")
    arguments = parser.parse_args()
    print(write_all(arguments.folder, arguments.size))


if __name__ == "__main__":
    _main()
