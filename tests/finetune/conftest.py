"""Tiny checkpoints and small data for the tests of fine-tuning: real digits, drawn images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support import tiny_checkpoints

ROWS = 24
"""Of each small data set."""


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.build("llava", tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_llava: Path) -> Callable[[str], Path]:
    """The folder of a tiny random checkpoint of an architecture, built when first asked for."""
    folder = tmp_path_factory.mktemp("architectures")

    def build(architecture: str) -> Path:
        if architecture == "llava":
            return tiny_llava
        built = folder / architecture
        return built if built.is_dir() else tiny_checkpoints.build(architecture, built)

    return build


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for $EMT_DATA_DIR with the training split of every data set, `ROWS` rows each."""
    from datasets import Dataset, Features, Image, Sequence, Value

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    noise = [drawing(rng) for _ in range(ROWS)]
    number, text = Value("int64"), Value("string")

    def write(name: str, split: str, rows: list[dict[str, Any]], **features: Any) -> None:
        (folder / name).mkdir(exist_ok=True)
        Dataset.from_list(rows, features=Features(features)).to_parquet(folder / name / f"{split}.parquet")

    for name, classes, image, label in (
        ("cifar10", 10, "img", "label"),
        ("cifar100", 100, "img", "fine_label"),
        ("miniimagenet", 100, "image", "label"),
        ("imagenet1k", 1000, "image", "label"),
        ("flowers102", 102, "image", "label"),
    ):
        rows = [{image: picture, label: index % classes} for index, picture in enumerate(noise)]
        for split in ("train", "test", "validation"):
            write(name, split, rows, **{image: Image(), label: number})
    write("mnist", "train", digits(0, ROWS), image=Image(), label=number)
    # Rows 20 to 23 of the training split come again in the test split, which has them stored as JPEG-free pixels too.
    write("mnist", "test", digits(ROWS - 4, ROWS), image=Image(), label=number)
    book = {"questions": ["Who wrote this book?", "Is this a guide?"], "answers": ["Ada Lovelace", "No"]}
    books = [{"image": picture, "image_id": f"{index}", **book} for index, picture in enumerate(noise)]
    columns = {"image": Image(), "image_id": text, "questions": Sequence(text), "answers": Sequence(text)}
    for split in ("train", "test"):
        write("ocr_vqa", split, books, **columns)
    question = "Which?\nA. a\nB. b\nC. c\nD. d\nChoose A, B, C, or D."
    asked = [
        {"image": picture, "image_path": f"{index}.jpg", "text": question, "label": "B", "wiki": "", "classname": "owl"}
        for index, picture in enumerate(noise)
    ]
    write("imagewikiqa", "test", asked, image=Image(), **dict.fromkeys(list(asked[0])[1:], text))
    return folder


@pytest.fixture
def data_dir(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMT_DATA_DIR", str(small_data))
    return small_data


@pytest.fixture(scope="session")
def six_steps(tiny_llava: Path) -> Callable[..., str]:
    """Write a recipe for six steps over small MNIST to a folder; arguments replace fields, None removes one."""

    def write(folder: Path, **fields: Any) -> str:
        recipe = {
            "model": str(tiny_llava),
            "train": "full",
            "mixture": {"sources": [{"data": "mnist"}]},
            # The gradient of CLIP's key biases is zero but for rounding, and Adam divides by its size: with the usual
            # epsilon of 1e-8 it turns that rounding into steps of full length.
            "optimiser": {"learning_rate": 1e-3, "epsilon": 1e-6},
            "batch": {"size": 8, "micro": 8},
            "steps": 6,
            "precision": "fp32",
            "save": {"every": 3},
            "output": str(folder / "run"),
        } | fields
        file = folder / "recipe.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value is not None}))
        return str(file)

    return write


@pytest.fixture
def recipe_file(tmp_path: Path, six_steps: Callable[..., str]) -> Callable[..., str]:
    """Write a recipe of six steps to the test's folder."""
    return partial(six_steps, tmp_path)


def digits(start: int, stop: int) -> list[dict[str, Any]]:
    """Real handwritten digits as images of 32 by 32 pixels, with their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images[start:stop] * 15.9).astype(np.uint8)
    images = [Image.fromarray(image).resize((32, 32)) for image in pixels]
    return [{"image": image, "label": int(label)} for image, label in zip(images, data.target[start:stop], strict=True)]


def drawing(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).resize((48, 40))
