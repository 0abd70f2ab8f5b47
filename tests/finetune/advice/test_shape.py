"""The shape of training data: what counts as one question, as a closed set, as narrow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetune.advice.shape import shape_of
from finetune.data.conversations import Turn

TEXTS = st.text(alphabet="abc ?", min_size=1, max_size=12).filter(str.strip)


def test_one_question_with_few_labels_is_narrow() -> None:
    turns = [Turn("<image>\nWhich bird?", ("robin", "crow")[row % 2]) for row in range(20)]
    found = shape_of(turns, 500)
    assert (found.examples, found.looked_at, found.questions, found.answers) == (500, 20, 1, 2)
    assert found.one_question == "Which bird?"
    assert found.closed and found.short and found.narrow


def test_one_question_with_free_answers_is_not() -> None:
    found = shape_of(
        [Turn("Describe it.", f"A long text about number {row} and all that it shows") for row in range(9)], 9
    )
    assert found.one_question and not found.closed and not found.short and not found.narrow


def test_many_questions_are_not() -> None:
    """Each question comes once, so none is nine tenths of them; 2 answers come 5 times each: a closed set."""
    found = shape_of([Turn(f"Is it {row}?", ("yes", "no")[row % 2]) for row in range(10)], None)
    assert found.one_question is None and found.closed and not found.narrow
    # One answer more, and each comes less than 5 times in the mean: 3 · 5 > 10.
    turns = [Turn(f"Is it {row}?", ("yes", "no", "no", "perhaps")[row % 4]) for row in range(10)]
    assert not shape_of(turns, None).closed


def test_a_data_sets_classes_are_a_closed_set_however_few_were_seen() -> None:
    found = shape_of([Turn("What?", "tench")], 1, [f"class {number}" for number in range(1000)])
    assert found.closed and found.answers == 1000 and found.narrow


@given(st.lists(st.builds(Turn, TEXTS, TEXTS), min_size=1, max_size=30))
def test_counts_are_bounded_and_order_does_not_matter(turns: list[Turn]) -> None:
    found = shape_of(turns, None)
    assert 1 <= found.questions <= len(turns) and 1 <= found.answers <= len(turns)
    assert shape_of(turns[::-1], None) == found or found.one_question is None
