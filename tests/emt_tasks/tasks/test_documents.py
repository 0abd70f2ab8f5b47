"""Images in RGB, and the fixed stratified sample."""

from __future__ import annotations

from collections import Counter

from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emt_tasks.tasks import documents


def test_image_is_rgb_whatever_its_column_and_mode():
    for column, mode in (("image", "L"), ("img", "P"), ("image", "RGBA")):
        (found,) = documents.image({column: Image.new(mode, (3, 2)), "label": 1})
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
    labels = Dataset.from_dict({"label": [0, 1, 1]})
    assert documents.strata(labels) == ["0", "1", "1"]
    questions = Dataset.from_dict({"question": ["Who wrote this book?", "Is this book related to Art?"]})
    assert documents.strata(questions) == ["who wrote", "is this"]
    assert len(documents.lite(labels)) == 3
