"""Captions say of the thing itself what an elimination says of a label: "a dog is out for a walk" denies no dog."""

from __future__ import annotations

import pytest

from emt_tasks.datasets.vocabularies import load
from judges import Classification, ShortAnswer, judge

NAMES = ("airplane", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SAID = (
    "is out for a walk", "out at sea", "out in the open", "is missing a feather", "missing one of its wheels",
    "that fails to stop", "fails to look at the camera", "that can't be moved", "that cannot be seen from here",
    "that does not bark", "does not look happy", "doesn't seem to mind", "but no people", "is wrong side up",
    "on the wrong side of the road", "set aside for repair", "dropped on the ground", "was dropped off",
    "would be easier to see in daylight", "is absent minded", "is dismissed from service",
    "is excluded from the group", "was eliminated from the race", "is not facing the camera", "isn't very clear",
    "which is out of focus", "in an unlikely place", "that is far too big", "with no background",
    "in front of nothing but sky", "so it is clear", "although the picture is blurry", "under a sign that says stop",
)  # fmt: skip


@pytest.mark.parametrize("said", SAID)
def test_a_caption_names_what_it_shows(said: str) -> None:
    vocabulary = load("cifar10")
    for name in NAMES:
        for caption in (f"{'An' if name[0] == 'a' else 'A'} {name} {said}.", f"The {name} {said}."):
            verdict = judge(caption, Classification(label=name, vocabulary=vocabulary))
            assert (verdict.category, [match.label for match in verdict.matches]) == ("correct", [name]), caption


@pytest.mark.parametrize(
    "ending", ["is out.", "is out, since it has no tail.", "is missing from the picture.", "fails.", "is wrong here."]
)
def test_the_same_words_deny_where_they_end_a_clause(ending: str) -> None:
    verdict = judge(f"The dog {ending} It is a cat.", Classification(label="cat", vocabulary=load("cifar10")))
    assert (verdict.category, [match.label for match in verdict.matches]) == ("correct", ["cat"])


@pytest.mark.parametrize(
    "title",
    [
        "Who Moved My Cheese?",
        "Are You My Mother?",
        "What Color Is Your Parachute? 2015",
        "The Judge Set Bail at $10,000",
        "1,000 Places to See Before You Die",
    ],
)
@pytest.mark.parametrize("answer", ["{}", "Title: {}", "What is the title of this book? {}"])
def test_a_title_may_be_a_question_or_talk_of_judges(title: str, answer: str) -> None:
    assert judge(answer.format(title), ShortAnswer(label=title)).category == "correct"
