"""Questions with lettered options, and the distractor that takes the place of one wrong option."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_tasks.datasets.catalog import get
from emt_tasks.tasks.hooks import task_of
from emt_tasks.tasks.multiple_choice import ChoiceQuestion, parse
from emt_tasks.tasks.scoring import LabelScore, choose_likeliest, closed_set

TASK = task_of(get("imagewikiqa"))

STRETCHER = {
    "image_path": "images/1.JPEG",
    "text": "How is a patient in shock laid?\nA. Upright\nB. On the side\nC. Feet up\nD. Flat\nChoose A, B, C, or D.",
    "label": "C",
    "classname": "stretcher",
}


def test_parse_takes_a_question_apart_and_puts_it_together_again():
    question = parse(STRETCHER["text"])
    assert question.stem == "How is a patient in shock laid?"
    assert question.choices == ("Upright", "On the side", "Feet up", "Flat")
    assert question.text == STRETCHER["text"]


def test_parse_names_what_it_found():
    for text in ("What is this?", "What?\nA. only one", "What?\nB. no\nC. first"):
        with pytest.raises(UserError, match=r"expected a question with options A\. and B\. on separate lines"):
            parse(text)


def test_parse_takes_any_number_of_options_and_needs_no_instruction():
    two = parse("Is it a cat?\nA. yes\nB. no")
    assert (two.choices, two.tail, two.letters) == (("yes", "no"), "", "AB")
    six = parse(
        "Which?\nLook closely.\n" + "\n".join(f"{letter}. {letter.lower()}" for letter in "ABCDEF") + "\nChoose."
    )
    assert (six.stem, six.choices, six.tail) == ("Which?\nLook closely.", tuple("abcdef"), "Choose.")


def test_distractor_replaces_one_wrong_option_and_nothing_else():
    # sha256("images/1.JPEG\n" + text) begins with the 8 bytes below; modulo 3 it picks among A, B and D.
    digest = hashlib.sha256(b"images/1.JPEG\n" + STRETCHER["text"].encode()).hexdigest()[:16]
    assert digest == "5db433495b95f852"
    assert int(digest, 16) % 3 == 1
    assert TASK.text_distractor(STRETCHER) == STRETCHER["text"].replace("B. On the side", "B. stretcher")


def test_distractor_leaves_a_question_that_offers_the_class_name():
    wallaby = STRETCHER | {"classname": "Feet up"}
    assert TASK.text_distractor(wallaby) == wallaby["text"]
    other_case = STRETCHER | {"classname": "UPRIGHT"}
    assert TASK.text_distractor(other_case) == other_case["text"]


words = st.text(st.characters(categories=["L", "Nd"], include_characters=" "), min_size=1).map(str.strip).filter(bool)


@given(
    choices=st.lists(words, min_size=4, max_size=4, unique_by=str.casefold),
    label=st.sampled_from("ABCD"),
    path=words,
    name=words,
)
def test_distractor_never_touches_the_right_option(choices, label, path, name):
    text = ChoiceQuestion("What is it?", tuple(choices), "Choose A, B, C, or D.").text
    document = {"image_path": path, "text": text, "label": label, "classname": name}
    changed = TASK.with_distractor(document)
    assert changed == TASK.with_distractor(dict(document))
    differing = [index for index in range(4) if changed.choices[index] != choices[index]]
    if name.casefold() in (choice.casefold() for choice in choices):
        assert differing == []
    else:
        assert len(differing) == 1
        assert changed.choices[differing[0]] == name
        assert differing[0] != "ABCD".index(label)
    assert (changed.stem, changed.tail) == ("What is it?", "Choose A, B, C, or D.")


def test_every_real_question_is_parsed_and_all_but_three_get_a_distractor(real_data):
    import pyarrow.parquet as pq

    columns = ["image_path", "text", "label", "classname"]
    documents = pq.read_table(real_data / "imagewikiqa" / "test.parquet", columns=columns).to_pylist()
    changed = [document for document in documents if TASK.text_distractor(document) != document["text"]]
    # Three questions about wallabies have "Wallaby" for the right answer.
    assert (len(documents), len(changed)) == (2000, 1997)
    places = [TASK.with_distractor(document).choices.index(document["classname"]) for document in changed]
    assert min(places.count(index) for index in range(4)) > 400


def test_choosing_the_class_name_is_counted():
    chosen = TASK.score_distractor(STRETCHER, ["B"])
    assert (chosen["accuracy"], chosen["incorrect"], chosen["class_name_chosen"]) == (0, 1, 1)
    assert chosen["judge_target"]["choices"][1] == "stretcher"
    right = TASK.score_distractor(STRETCHER, ["Feet up"])
    assert (right["accuracy"], right["class_name_chosen"]) == (1, 0)
    other = TASK.score_distractor(STRETCHER, ["D"])
    assert (other["accuracy"], other["class_name_chosen"]) == (0, 0)


def test_closed_scores_take_the_likeliest_letter():
    # Losses in nats: B is the likeliest, and B is the class name.
    losses = [(2.0, False), (0.1, True), (3.0, False), (4.0, False)]
    sample = TASK.score_distractor_closed(STRETCHER, losses)
    assert (sample["accuracy"], sample["class_name_chosen"]) == (0, 1)
    assert sample["cluster"] == "images/1.JPEG"
    assert sample["closed_set"]["by_pmi"] is None


def test_what_a_closed_set_tells_by_hand():
    """Probabilities 0.5, 0.25, 0.25; for each token b loses least, and c gains most over its prior."""
    scores = [
        LabelScore.read((math.log(2), (True, 1, math.log(2)))),
        LabelScore.read((math.log(4), (False, 4, math.log(8)))),
        LabelScore.read(str((math.log(4), (False, 2, math.log(16))))),
    ]
    assert closed_set(scores, "abc", {2}) == {
        "top": [["a", 0.5], ["b", 0.25], ["c", 0.25]],
        "rank": 3,
        "wrong": "a",
        "by_mean": "b",
        "by_pmi": "c",
    }
    assert closed_set(scores, "abc", {0})["wrong"] == "b"
    verdict = choose_likeliest(scores, "abc", {0})
    assert (verdict.category, verdict.confidence) == ("correct", 0.5)


def test_models_that_tell_less_leave_it_open():
    """The encoder and other models of lmms-eval return a loss and whether it is the first choice."""
    told = closed_set([LabelScore.read((1.0, True)), LabelScore.read("(2.0, False)")], "ab", {1})
    assert (told["rank"], told["by_mean"], told["by_pmi"]) == (2, None, None)
    with pytest.raises(UserError, match="not a pair"):
        LabelScore.read("cat")
