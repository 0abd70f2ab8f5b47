"""What a model is trained on: an image, questions and answers; and how a data set's rows become that.

The EMT data sets use the paper's fine-tuning format (arXiv 2309.10313, appendix D.1); all others ask what their
evaluation task asks, so that a task's text is in distribution after training on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, listed
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks import registry

if TYPE_CHECKING:
    from PIL import Image

IMAGE_MARK = "<image>"
"""The image's place in LLaVA's and EMT's texts. In training, the chat template decides where the image goes."""

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One training example: its turns, its images (decoded on demand), and its location, for messages."""

    turns: tuple[Turn, ...]
    load_images: Callable[[], list[Image.Image]]
    image_count: int
    where: str

    @property
    def length(self) -> int:
        """Characters of all turns: a proxy for the number of tokens."""
        return sum(len(turn.question) + len(turn.answer) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Format:
    """How a row becomes a turn: texts in which `{field}` stands for a value of the row."""

    question: str
    answer: str

    def __call__(self, row: Mapping[str, Any], where: str) -> Turn:
        """Fill in one row.

        Raises:
            UserError: the row lacks a field, or its value is null; `where` names the row.
        """
        return Turn(_fill(self.question, row, where), _fill(self.answer, row, where))


@cache
def format_of(dataset: Dataset) -> Format:
    """Return a data set's format, as its row in the catalog gives it."""
    return Format(_task_prompt(dataset.asks_as) if dataset.asks_as else dataset.question, dataset.answer)


def without_image_mark(text: str) -> str:
    """Return a text without LLaVA's place for the image and the blank around it."""
    return " ".join(part.strip() for part in text.split(IMAGE_MARK) if part.strip())


def _task_prompt(task: str) -> str:
    """Return the question of an evaluation task, with `{field}` for its Jinja fields."""
    text = str(registry.load(registry.entries()[task].file)["doc_to_text"])
    return text.replace("{{", "{").replace("}}", "}")


def _fill(text: str, row: Mapping[str, Any], where: str) -> str:
    def value(field: re.Match[str]) -> str:
        if field[1] not in row:
            raise UserError(f"{where}: {text!r} asks for the field {field[1]!r}; the data has {listed(row)}")
        if row[field[1]] is None:
            raise UserError(f"{where}: {field[1]!r} is null, which {text!r} asks for; remove the row")
        return str(row[field[1]])

    return _FIELD.sub(value, text)
