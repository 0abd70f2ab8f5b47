"""What a task's generation settings become, and where an answer ends."""

from __future__ import annotations

import pytest
import torch

from emt_core.errors import UserError
from emt_tasks.models.generation import GenerationSettings, count_tokens, cut, new_tokens

UNSET = {"temperature": None, "top_p": None, "top_k": None, "min_p": None, "typical_p": None}


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ({}, {"do_sample": False, "max_new_tokens": 99, **UNSET}),
        ({"temperature": 0, "max_new_tokens": 5}, {"do_sample": False, "max_new_tokens": 5, **UNSET}),
        ({"do_sample": False, "temperature": 0.7}, {"do_sample": False, "max_new_tokens": 99, **UNSET}),
        ({"temperature": 0.7}, {"do_sample": True, "temperature": 0.7, "max_new_tokens": 99}),
        ({"do_sample": True, "top_p": 0.9}, {"do_sample": True, "top_p": 0.9, "max_new_tokens": 99}),
        ({"num_beams": 3, "top_p": None}, {"do_sample": False, "num_beams": 3, "max_new_tokens": 99, **UNSET}),
        ({"max_length": 50}, {"do_sample": False, "max_length": 50, **UNSET}),
    ],
)
def test_settings(task, options):
    assert GenerationSettings.from_task(task, 99) == GenerationSettings((), options)


def test_until_is_a_text_or_a_list():
    assert GenerationSettings.from_task({"until": "\n\n"}, 9).until == ("\n\n",)
    assert GenerationSettings.from_task({"until": ["a", "", "b"]}, 9).until == ("a", "b")


@pytest.mark.parametrize(
    ("task", "match"),
    [
        ({"wibble": 1}, "generation_kwargs.wibble"),
        ({"until": [1]}, "generation_kwargs.until"),
        ({"do_sample": True, "temperature": 0}, "temperature is 0"),
    ],
)
def test_refused(task, match):
    with pytest.raises(UserError, match=match):
        GenerationSettings.from_task(task, 9)


@pytest.mark.parametrize(
    ("text", "until", "left"),
    [
        ("a cat\n\nQ: b", ["\n\n"], "a cat"),
        ("a cat. Q: b\n", ["\n", "Q:"], "a cat. "),
        ("\nb", ["\n"], ""),
        ("a cat", ["dog"], "a cat"),
        ("a cat", [], "a cat"),
    ],
)
def test_cut(text, until, left):
    assert cut(text, until) == left


def test_new_tokens_with_and_without_the_prompt_before_them():
    prompt = torch.tensor([[1, 2], [0, 3]])
    new = torch.tensor([[7, 8, 9], [7, 0, 0]])
    assert torch.equal(new_tokens(torch.cat([prompt, new], 1), prompt), new)
    assert torch.equal(new_tokens(new, prompt), new)


def test_tokens_are_counted_to_the_end_token():
    assert count_tokens(torch.tensor([[5, 6, 2, 0], [5, 6, 7, 8], [2, 2, 2, 2]]), {2}) == [3, 4, 1]
    assert count_tokens(torch.tensor([[5, 6]]), set()) == [2]
