"""The demo's data: the same everywhere, split for good, and every answer right."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from random import Random

import numpy as np
import pytest

from emt_core.errors import UserError
from emt_tasks.demo import NAMES, SPLITS
from emt_tasks.demo.digits import digits
from emt_tasks.demo.questions import NUMBERS, about_digit, about_shape
from emt_tasks.demo.shapes import COLOURS, Shape, draw, shapes
from emt_tasks.tasks.multiple_choice import parse
from tools.demo_rows import rows

# Change one of these only together with tables.VERSION: files in users' caches hold the old data.
HASHES = {
    ("demo_digits", "train"): "5d3dbc3606360255",
    ("demo_digits", "test"): "8af11b0e4ede8a6e",
    ("demo_shapes", "train"): "d2176fa746f70016",
    ("demo_shapes", "test"): "07672d3774db7e4e",
    ("demo_digits_qa", "train"): "94ec5b38e72983d3",
    ("demo_digits_qa", "test"): "caf8f4951019a24a",
    ("demo_shapes_qa", "train"): "cd71945b1fb38816",
    ("demo_shapes_qa", "test"): "c5eccdec35f1891c",
}


def content(row):
    return hashlib.sha256(row["image"].tobytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_the_same_on_every_machine(name, split):
    found = [[row["id"], content(row), row["question"], row["answer"]] for row in rows(name, split)]
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] == HASHES[name, split]


def test_no_image_is_in_both_splits():
    images = {split: [content(row) for name in NAMES for row in rows(name, split)] for split in SPLITS}
    assert set(images["train"]).isdisjoint(images["test"])
    # 1,397 digits and 4,800 shapes; 400 of each: no image stands twice in a split either.
    assert {split: len(set(hashes)) for split, hashes in images.items()} == {"train": 6197, "test": 800}


@pytest.mark.parametrize("name", NAMES)
def test_held_out_documents_are_400(name):
    assert len(rows(name, "test")) == 400


def test_classes_are_balanced():
    assert set(Counter(row["answer"] for row in rows("demo_digits", "test")).values()) == {40}
    for split, count in (("train", 600), ("test", 50)):
        assert set(Counter(row["answer"] for row in rows("demo_shapes", split)).values()) == {count}


def test_unknown_names_and_splits_are_told():
    for name, split in (("demo_letters", "train"), ("demo_digits", "validation")):
        with pytest.raises(UserError, match=f"'{name}', split '{split}': choose from demo_digits, .*; train or test"):
            rows(name, split)


@pytest.mark.parametrize(
    ("digit", "kind", "right"),
    [
        (0, "parity", "even"),
        (7, "parity", "odd"),
        (4, "comparison", "four or less"),
        (5, "comparison", "more than four"),
        (0, "successor", "one"),
        (9, "successor", "ten"),
    ],
)
def test_questions_about_digits_by_hand(digit, kind, right):
    question, letter = about_digit(digit, kind, Random(0))
    assert question.choices["ABCD".index(letter)] == right
    assert len(set(question.choices)) == 4
    assert NUMBERS[digit] not in question.choices


def test_the_answer_of_every_question_about_a_digit_follows_from_its_image():
    label = {digit.name: digit.label for split in SPLITS for digit in digits(split)}
    letters = Counter()
    for split in SPLITS:
        for row in rows("demo_digits_qa", split):
            question = parse(row["question"])
            number = label[row["id"]]
            rights = {
                "Is the number in this photo even or odd?": "odd" if number in (1, 3, 5, 7, 9) else "even",
                "Is the number in this photo more than four?": "more than four"
                if number in (5, 6, 7, 8, 9)
                else "four or less",
                "Which number comes next after the one in this photo?": (
                    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"][number]
                ),
            }
            assert dict(zip("ABCD", question.choices, strict=True))[row["answer"]] == rights[question.stem]
            letters[row["answer"]] += 1
    # Each letter is right about every fourth time: 4,591 questions, so 1,148 ± 3 standard deviations of 29.
    assert all(abs(count - 1148) < 90 for count in letters.values())


@pytest.mark.parametrize(
    ("kind", "corners"),
    [
        ("circle", "0"),
        ("semicircle", "2"),
        ("triangle", "3"),
        ("square", "4"),
        ("diamond", "4"),
        ("arrow", "7"),  # three of the head, two where head and shaft meet, two of the shaft's end
        ("star", "10"),  # five points and five notches
        ("cross", "12"),  # two at the end of each of four arms, and four inside
    ],
)
def test_corners_by_hand(kind, corners):
    shape = Shape("one", draw("one", kind).image, kind, "red", "small")
    assert about_shape(shape, "corners") == ("How many corners does the shape in this photo have?", corners)
    assert about_shape(shape, "colour")[1] == "red"
    assert about_shape(shape, "size")[1] == "small"


def test_what_is_drawn_is_what_is_said():
    """Colour and size, read off the pixels: those far from grey, or for white those far brighter than the ground."""
    for shape in shapes("test"):
        pixels = np.asarray(shape.image).astype(float)
        painted = (np.ptp(pixels, axis=2) > 70) | (pixels.min(axis=2) > 150)
        mean = pixels[painted].mean(axis=0)
        nearest = min(COLOURS, key=lambda colour: np.abs(mean - COLOURS[colour]).sum())
        assert nearest == shape.colour, shape.name
        reach = max(np.ptp(np.argwhere(painted), axis=0)) + 1
        # A large square has a side of 17.7 pixels or more, a small circle a diameter of 16 or less; 1 for the edges.
        assert (reach > 17.5) == (shape.size == "large"), shape.name


def test_a_triangle_covers_what_geometry_says():
    # A triangle of radius r has the area 3√3/4 r² = 1.299 r². Large ones have r from 12.5 to 14: 203 to 255 pixels.
    large = next(shape for shape in shapes("test") if (shape.kind, shape.size) == ("triangle", "large"))
    pixels = np.asarray(large.image).astype(float)
    painted = (np.ptp(pixels, axis=2) > 70) | (pixels.min(axis=2) > 150)
    assert 195 < painted.sum() < 265
