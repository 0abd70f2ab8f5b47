"""Images in RGB, and the fixed stratified sample."""

from __future__ import annotations

from collections import Counter

from datasets import Dataset as Table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emt_tasks.datasets.catalog import get
from emt_tasks.tasks import documents, hooks
from emt_tasks.tasks.hooks import task_of


def test_image_is_rgb_whatever_its_column_and_mode():
    for hook, column, mode in ((hooks.mnist_image, "image", "L"), (hooks.cifar10_image, "img", "P")):
        (found,) = hook({column: Image.new(mode, (3, 2)), "label": 1})
        assert (found.mode, found.size) == ("RGB", (3, 2))


def test_stratified_sample_keeps_shares_and_rounds_by_largest_remainder():
    # 10 documents, 6 of them wanted: a has 5 (share 3.0), b 3 (1.8), c 2 (1.2); the place left over goes to b.
    chosen = documents.stratified_sample(list("aaaaabbbcc"), 6)
    assert Counter("aaaaabbbcc"[index] for index in chosen) == {"a": 3, "b": 2, "c": 1}


def test_stratified_sample_is_the_same_on_every_machine():
    strata = [str(index % 10) for index in range(10_000)]
    chosen = documents.stratified_sample(strata, 2000)
    assert len(chosen) == 2000
    assert Counter(strata[index] for index in chosen) == dict.fromkeys("0123456789", 200)
    assert chosen[:12] == PINNED
    assert sum(chosen) == PINNED_SUM


PINNED = [8, 9, 39, 46, 49, 50, 51, 53, 54, 55, 65, 91]
PINNED_SUM = 10_011_510


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.integers(1, 30))
def test_stratified_sample_never_strays_from_a_share_by_more_than_one(strata, size):
    chosen = documents.stratified_sample(strata, size)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(size, len(strata))
    for stratum, count in Counter(strata).items():
        share = count * min(1, size / len(strata))
        assert abs(sum(strata[index] == stratum for index in chosen) - share) < 1


def test_lite_takes_classes_and_kinds_of_questions_as_strata():
    labels = Table.from_dict({"fine_label": [0, 1, 1]})
    assert task_of(get("cifar100")).strata(labels) == ["0", "1", "1"]
    asked = ["Who wrote this book?", "Is this book related to Art?"]
    assert task_of(get("ocr_vqa")).strata(Table.from_dict({"questions": asked})) == ["who wrote", "is this"]
    shown = Table.from_dict({"classname": ["cat", "dog"], "label": ["A", "A"]})
    assert task_of(get("imagewikiqa")).strata(shown) == ["cat", "dog"]
    assert len(hooks.imagewikiqa_documents_lite(shown)) == 2


def test_rows_that_ask_several_questions_become_one_document_each():
    books = {
        "image": [1, 2],
        "image_id": ["a", "b"],
        "questions": [["Q1", "Q2"], ["Q3"]],
        "answers": [["x", "y"], ["z"]],
    }
    found = hooks.ocr_vqa_documents(Table.from_dict(books)).to_list()
    assert [(row["row"], row["image"], row["question"], row["answer"]) for row in found] == [
        (0, 1, "Q1", "x"),
        (0, 1, "Q2", "y"),
        (1, 2, "Q3", "z"),
    ]
    assert hooks.ocr_vqa_score(found[2], ["z"])["cluster"] == "b"
