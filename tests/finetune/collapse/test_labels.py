"""The directions of labels, by hand; and the command on a model that is its own candidate."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear

from emt_tasks.commands.app import main
from emt_tasks.diagnosis.measure import AnswerStates
from finetune.collapse.labels import label_collapse, label_vectors

WORDS = {" cat": [0], " sea horse": [1, 2]}


def model(weights, wrap=lambda head: head):
    """A model with an output layer of these weights, and a bias, which is no part of a direction."""
    head = torch.nn.Linear(weights.shape[1], weights.shape[0])
    head.weight.data, head.bias.data = weights.clone(), torch.arange(len(weights), dtype=torch.float32)
    wrapped = wrap(head)
    return SimpleNamespace(get_output_embeddings=lambda: wrapped, dtype=torch.float32, device=torch.device("cpu"))


def words(text, add_special_tokens):
    assert not add_special_tokens
    return {"input_ids": WORDS[text]}


ROWS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 0.0], [9.0, 9.0]])


def test_a_label_is_the_mean_of_its_tokens():
    assert label_vectors(model(ROWS), words, ("cat", "sea horse"), 2).tolist() == [[1.0, 0.0], [2.0, 1.0]]


def test_an_adapter_on_the_output_layer_counts():
    """LoRA of rank 1 adds B·A·(alpha / rank): 2 · (1, 0, 0, 0)ᵀ (0, 3) is 6 in the first row's second place."""

    def adapted(head):
        layer = Linear(head, "default", LoraConfig(r=1, lora_alpha=2), r=1, lora_alpha=2)
        layer.lora_A["default"].weight.data = torch.tensor([[0.0, 3.0]])
        layer.lora_B["default"].weight.data = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
        return layer

    assert label_vectors(model(ROWS, adapted), words, ("cat", "sea horse"), 2).tolist() == [[1.0, 6.0], [2.0, 1.0]]


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
