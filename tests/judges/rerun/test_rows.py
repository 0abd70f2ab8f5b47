"""Rows and samples become answers with targets; a fault in them names file, line and field."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from emt_core.files import read_rows
from judges import Classification, Match, MultipleChoice, ShortAnswer, Verdict, find_vocabulary
from judges.rerun.rows import answer_of, class_name_chosen

CIFAR = find_vocabulary("cifar10")


@pytest.mark.parametrize(
    ("row", "target"),
    [
        ({"task": "cifar10", "label": "cat"}, Classification("cat", CIFAR)),
        ({"task": "emt_cifar10", "label": 3}, Classification(3, CIFAR)),
        ({"task": "cifar10", "label": "3"}, Classification("3", CIFAR)),
        ({"task": "imagewikiqa", "label": "B", "choices": ["x", "y"]}, MultipleChoice("B", ("x", "y"))),
        ({"task": "ocr_vqa", "label": "1998"}, ShortAnswer("1998")),
        ({"task": "my_own", "kind": "short_answer", "label": 1998}, ShortAnswer("1998")),
        ({"task": "my_own", "kind": "open_vqa", "label": "Yes"}, ShortAnswer("Yes")),
    ],
)
def test_plain_rows(row, target):
    assert answer_of(row | {"prediction": "p"}, "f:1") == ("p", target)


@pytest.mark.parametrize(
    ("described", "target"),
    [
        ({"kind": "classification", "vocabulary": "cifar10", "label": 3}, Classification(3, CIFAR)),
        (
            {"kind": "multiple_choice", "label": "A", "choices": ["x", "y"], "class_name": "y"},
            MultipleChoice("A", ("x", "y"), "y"),
        ),
        ({"kind": "short_answer", "label": "Yes"}, ShortAnswer("Yes")),
    ],
)
@pytest.mark.parametrize("response", ["an answer", ["an answer"]])
def test_logged_samples(described, target, response):
    sample = {"doc_id": 0, "filtered_resps": response, "judge_target": described}
    assert answer_of(sample, "f:1") == ("an answer", target)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"task": "cifar10", "label": "cat"}, "field 'prediction': expected text, found none"),
        ({"task": "cifar10", "label": "cat", "prediction": None}, "'prediction': expected text, found None"),
        ({"task": "cifar10", "prediction": "p"}, "field 'label': expected text or a number, found none"),
        ({"task": "cifar10", "label": True, "prediction": "p"}, "field 'label': expected .* found True"),
        ({"task": "cifar10", "label": 10, "prediction": "p"}, "field 'label': .*10.*cifar10"),
        ({"task": "cifar10", "label": "lynx", "prediction": "p"}, "field 'label': .*'lynx'.*cifar10"),
        ({"task": "weather", "label": "rain", "prediction": "p"}, "field 'task': .*'weather'.*mnist"),
        ({"task": "q", "label": "A", "choices": "x", "prediction": "p"}, "field 'choices': expected a list"),
        ({"kind": "essay", "label": "A", "prediction": "p"}, "field 'kind': expected one of .* found 'essay'"),
        ({"judge_target": "cat", "filtered_resps": "p"}, "field 'judge_target': expected an object"),
        ({"judge_target": {"kind": "short_answer", "label": "x"}, "filtered_resps": ["a", "b"]}, "filtered_resps"),
    ],
)
def test_a_fault_names_place_and_field(row, message):
    with pytest.raises(UserError, match=rf"^some/file:7: .*{message}") as error:
        answer_of(row, "some/file:7")
    assert "\n" not in str(error.value)


def test_reading_names_the_broken_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n[1]\n')
    rows = read_rows(path)
    assert next(rows) == (f"{path}:1", {"a": 1})
    with pytest.raises(UserError, match=r"rows\.jsonl:3: expected a JSON object, found '\[1\]'"):
        next(rows)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_an_unreadable_file_is_the_users_mistake(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"rows\.jsonl(:1)?: cannot be read"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("category", "letters", "chosen"),
    [
        ("incorrect", "B", 1.0),
        ("incorrect", "C", 0.0),
        ("intrinsic", "BC", 0.0),
        ("extrinsic", "", 0.0),
        ("unscored", "B", None),
    ],
)
def test_class_name_chosen(category, letters, chosen):
    target = MultipleChoice("A", ("fur", "tabby cat", "paw"), class_name="Tabby cat")
    matches = tuple(Match(letter, 0, 1, letter, "letter") for letter in letters)
    assert class_name_chosen(Verdict(category, matches, "j", 1.0, "r"), target) == chosen


def test_a_class_name_that_is_right_is_not_fallen_for():
    target = MultipleChoice("B", ("fur", "tabby cat"), class_name="tabby cat")
    assert class_name_chosen(Verdict("correct", (Match("B", 0, 1, "B", "letter"),), "j", 1.0, "r"), target) == 0.0
