"""What the demo asks: one question for both kinds of image, and differently worded ones, with their answers."""

from __future__ import annotations

from random import Random

from emt_tasks.demo.shapes import CORNERS, Shape
from emt_tasks.tasks.multiple_choice import ChoiceQuestion

CLASSIFY = "What type of object is in this photo?"
"""The matrix's question (arXiv 2603.14493), asked of digits and shapes alike."""

CHOOSE = "Choose A, B, C, or D."
BRIEFLY = "Answer the question using a single word or phrase."

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

DIGIT_QUESTIONS = {
    "parity": "Is the number in this photo even or odd?",
    "comparison": "Is the number in this photo more than four?",
    "successor": "Which number comes next after the one in this photo?",
}
SHAPE_QUESTIONS = {
    "colour": "Which colour is the shape in this photo?",
    "corners": "How many corners does the shape in this photo have?",
    "size": "Is the shape in this photo large or small?",
}


def about_digit(digit: int, kind: str, chance: Random) -> tuple[ChoiceQuestion, str]:
    """Return a question with four options in random order, and the letter of the right one.

    No option is the digit's own name: that is what the distractor variant puts in.
    """
    right, *wrong = _options(digit, kind, chance)
    options = [right, *wrong]
    chance.shuffle(options)
    question = ChoiceQuestion(DIGIT_QUESTIONS[kind], tuple(options), CHOOSE)
    return question, question.letters[options.index(right)]


def _options(digit: int, kind: str, chance: Random) -> list[str]:
    """Return the right option first, then three wrong ones."""
    if kind == "parity":
        pair = ["even", "odd"] if digit % 2 == 0 else ["odd", "even"]
        return [*pair, "both", "neither"]
    if kind == "comparison":
        pair = ["more than four", "four or less"] if digit > 4 else ["four or less", "more than four"]
        return [*pair, "more than nine", "less than zero"]
    if kind == "successor":
        others = [name for number, name in enumerate(NUMBERS) if number not in (digit, digit + 1)]
        return [NUMBERS[digit + 1], *chance.sample(others, 3)]
    raise ValueError(f"unknown question {kind!r}; choose one of {', '.join(DIGIT_QUESTIONS)}")


def about_shape(shape: Shape, kind: str) -> tuple[str, str]:
    """Return a question and its answer in a word or a number."""
    answers = {"colour": shape.colour, "corners": str(CORNERS[shape.kind]), "size": shape.size}
    return SHAPE_QUESTIONS[kind], answers[kind]
