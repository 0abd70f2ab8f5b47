"""The directions of labels, by hand; and the command on a model that is its own candidate."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from emt_tasks.diagnosis.measure import AnswerStates
from finetune.collapse.labels import label_collapse, label_vectors

WORDS = {" cat": [0], " sea horse": [1, 2]}


def model(weights):
    return SimpleNamespace(get_output_embeddings=lambda: SimpleNamespace(weight=weights))


def words(text, add_special_tokens):
    assert not add_special_tokens
    return {"input_ids": WORDS[text]}


def test_a_label_is_the_mean_of_its_tokens():
    head = model(torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0], [9.0, 9.0]]))
    assert label_vectors(head, words, ("cat", "sea horse")).tolist() == [[1.0, 0.0], [2.0, 1.0]]


def test_a_quantised_head_is_refused():
    with pytest.raises(UserError, match="no plain weights; load it without quantization"):
        label_vectors(model(torch.zeros(3, 2, dtype=torch.uint8)), words, ("cat",))


def test_one_model_by_hand():
    """Two labels at a right angle; states at 0° and at 90° of another pair of directions: cosines 0 and 0."""
    states = AnswerStates(
        np.array([[3, 0], [1, 0], [0, 2], [0, 2]], dtype=np.float32), np.array([0, 0, 1, 1]), ("a", "b")
    )
    heads = {" a": [0], " b": [1]}
    found = label_collapse(model(torch.eye(2)), lambda text, add_special_tokens: {"input_ids": heads[text]}, states)
    assert (found.labels, found.states) == pytest.approx((0.0, 0.0))
    assert found.collapse.nearest == 0.0 and found.collapse.angles == pytest.approx(0.0)


def test_the_base_against_itself(capfd):
    """Every row twice alike; the documents of a limit."""
    command = [
        "collapse",
        "labels",
        "emt:tiny",
        "emt:tiny",
        "-t",
        "demo_digits",
        "-b",
        "50",
        "--limit",
        "100",
        "--json",
    ]
    assert main(command) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [row.pop("model") for row in rows] == ["base", "candidate"]
    assert rows[0] == rows[1] and rows[0]["documents"] == 100
    assert float(rows[0]["NC1"]) < 1  # it names digits well


def test_options_that_are_none_are_refused(capsys):
    assert main(["collapse", "labels", "emt:tiny", "emt:tiny", "-t", "demo_digits_qa"]) == 2
    assert "expected a task with one set of labels for all documents" in capsys.readouterr().err
