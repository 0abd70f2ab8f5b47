"""The rule judge against tables of answers, one row each, worked out by hand from the rubric's rules."""

import json
from pathlib import Path

import pytest

from emt_tasks.datasets.vocabularies import load
from judges import Classification, MultipleChoice, ShortAnswer, Target, judge

CASES = Path(__file__).parent / "cases"


def rows(name: str) -> list[list[str]]:
    lines = (CASES / f"{name}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines]


def mistakes(judged: list[tuple[str, Target, str]]) -> list[str]:
    found = []
    for text, target, expected in judged:
        verdict = judge(json.loads(text), target)
        if verdict.category != expected:
            found.append(f"{target.label}: {text} should be {expected}, is {verdict.category}: {verdict.reason}")
    return found


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "flowers102", "imagenet1k", "miniimagenet", "mnist"])
def test_classification(name):
    vocabulary = load(name)
    judged = [(text, Classification(label, vocabulary), category) for label, category, text in rows(name)]
    assert len(judged) >= 150
    assert mistakes(judged) == []


def test_multiple_choice():
    table = rows("multiple_choice")
    judged = [(text, MultipleChoice(label, choices.split("|")), category) for label, choices, category, text in table]
    assert len(judged) > 150
    assert mistakes(judged) == []


def test_short_answer():
    judged = [(text, ShortAnswer(label), category) for label, category, text in rows("short_answer")]
    assert len(judged) > 100
    assert mistakes(judged) == []


@pytest.mark.real_data
def test_gold_cases(real_data):
    """The share of verdicts that people agree with, on the cases labelled by hand."""
    lines = (real_data / "judge_cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    verdicts = [judge(case["prediction"], _target(case)) for case in cases]
    agreed = sum(verdict.correct == case["correct"] for verdict, case in zip(verdicts, cases, strict=True))
    same_category = sum(verdict.category == case["category"] for verdict, case in zip(verdicts, cases, strict=True))
    wrongly_correct = sum(
        verdict.correct and not case["correct"] for verdict, case in zip(verdicts, cases, strict=True)
    )
    assert agreed / len(cases) >= 0.97
    assert same_category / len(cases) >= 0.93
    assert wrongly_correct / len(cases) <= 0.01


def _target(case: dict) -> Target:
    if case["kind"] == "multiple_choice":
        return MultipleChoice(case["label"], case["choices"])
    if case["kind"] == "open_vqa":
        return ShortAnswer(case["label"])
    name = "imagenet1k" if case["task"] == "imagenet" else case["task"]
    return Classification(case["label"], load(name))
