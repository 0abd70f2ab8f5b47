"""The demo's data as rows of questions and answers, which the tiny model learns and the tests compare with."""

from __future__ import annotations

from typing import Any

from emt_core.errors import UserError
from emt_tasks.demo import NAMES, SPLITS
from emt_tasks.demo.digits import Digit, digits
from emt_tasks.demo.questions import BRIEFLY, CLASSIFY, NUMBERS
from emt_tasks.demo.shapes import Shape, shapes
from emt_tasks.demo.tables import digit_questions, shape_questions

Row = dict[str, Any]


def rows(name: str, split: str) -> list[Row]:
    """Return a data set to train on: rows of `image` (PIL, RGB), `question` (as the task asks it) and `answer`.

    Also `id`, the image's name, the same in all four data sets.

    Raises:
        UserError: no such data set or split.
    """
    if name not in NAMES or split not in SPLITS:
        raise UserError(f"demo data {name!r}, split {split!r}: choose from {', '.join(NAMES)}; {' or '.join(SPLITS)}")
    if name == "demo_digits":
        return [_row(digit, CLASSIFY, NUMBERS[digit.label]) for digit in digits(split)]
    if name == "demo_shapes":
        return [_row(shape, CLASSIFY, shape.kind) for shape in shapes(split)]
    if name == "demo_digits_qa":
        return [_row(digit, text, label) for digit, text, label in digit_questions(split)]
    return [
        _row(shape, f"{question}\n{BRIEFLY}", answer)
        for shape, asked in shape_questions(split)
        for question, answer in asked
    ]


def _row(item: Digit | Shape, question: str, answer: str) -> Row:
    return {"id": item.name, "image": item.image, "question": question, "answer": answer}
