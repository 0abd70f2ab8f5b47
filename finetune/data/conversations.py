"""What a model is trained on: an image, questions and answers; and how a data set's rows become that.

The EMT data sets use the paper's fine-tuning format (arXiv 2309.10313, appendix D.1); all others ask what their
evaluation task asks, so that a task's text is in distribution after training on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, listed
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks import registry
from finetune.data.images import decode, reduced

if TYPE_CHECKING:
    from PIL import Image

IMAGE_MARK = "<image>"
"""An image's place in a question. Without one, images come before the first question, as in evaluation."""

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One training example.

    `turns` are its questions and answers, `stored` returns its images as stored, and `where` names it in messages;
    `system` is the text before all turns, and `max_pixels` the size that larger images are reduced to.
    """

    turns: tuple[Turn, ...]
    stored: Callable[[], Sequence[Any]]
    image_count: int
    where: str
    system: str | None = None
    max_pixels: int | None = None

    def load_images(self) -> list[Image.Image]:
        """Return the decoded images.

        Raises:
            UserError: one cannot be read.
        """
        return [reduced(decode(image, self._named(image)), self.max_pixels) for image in self.stored()]

    def _named(self, image: Any) -> str:
        return f"{self.where} ({image})" if isinstance(image, Path) else self.where

    @property
    def length(self) -> int:
        """Characters of all texts: a proxy for the number of tokens."""
        return len(self.system or "") + sum(len(turn.question) + len(turn.answer) for turn in self.turns)


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


def with_leading_images(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the turns without marks where all images come before the first question, and as they are elsewhere."""
    first, *rest = turns
    text = first.question
    while text.lstrip().startswith(IMAGE_MARK):
        text = text.lstrip().removeprefix(IMAGE_MARK)
    if IMAGE_MARK in text or any(IMAGE_MARK in turn.question for turn in rest):
        return tuple(turns)
    return (Turn(text.strip() if text != first.question else text, first.answer), *rest)


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
