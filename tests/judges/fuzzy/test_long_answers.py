"""What a model writes that loops on one token: every judge takes time in proportion, and reads both ends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.judge import LOOPED, LOOPS
from judges import MultipleChoice
from judges.fuzzy.judge import LONGEST, FuzzyJudge
from judges.fuzzy.text.spans import Places, Spans, without_overlaps
from judges.target import Target

JUDGE = FuzzyJudge()


def is_quick(text: str, target: Target, most: float) -> bool:
    """Whether a verdict takes at most so many CPU seconds, in one of three tries."""
    for _ in range(3):
        start = time.process_time()
        JUDGE.judge(text, target)
        if time.process_time() - start <= most:
            return True
    return False


@pytest.mark.parametrize("kind", LOOPED)
def test_time_grows_with_the_length_and_no_faster(kind: str) -> None:
    """The bounds are for a machine several times slower; a quadratic rule takes minutes."""
    JUDGE.judge("zqxw", LOOPED[kind])  # builds what it keeps
    for loop in LOOPS:
        for length, most in ((15_000, 0.5), (10**6, 1.5)):
            text = (loop * (length // len(loop) + 1))[:length]
            assert is_quick(text, LOOPED[kind], most), (loop, length)


@pytest.mark.parametrize("filler", ["not ", "zqx ", "<think>hm</think> ", "x" * 70 + " "])
def test_both_ends_of_a_long_answer_are_read(filler: str) -> None:
    middle = filler * (3 * LONGEST // len(filler))
    target = LOOPED["10 classes"]
    for text in (f"It is a cat. {middle}", f"{middle}. It is a cat."):
        verdict = JUDGE.judge(text, target)
        assert verdict.category == "correct", verdict
        assert verdict.reason.endswith("only the first and last 8,000 characters were read")
        (match,) = verdict.matches
        assert text[match.start : match.end] == match.text == "cat"


def test_no_name_continues_across_the_cut() -> None:
    """The beginning ends in "sea", the end begins with "lion": that is not option A, "sea lion"."""
    half = LONGEST // 2
    text = ("zq " * half)[: half - 4] + " sea" + " xyz" * half + "lion" + (" zq" * half)[: half - 4]
    target = MultipleChoice("A", ("sea lion", "truck"))
    assert JUDGE.judge(text, target).matches == ()
    assert JUDGE.judge(f"{text} sea lion", target).category == "correct"


def test_thoughts_longer_than_what_is_read_are_thoughts() -> None:
    thoughts = "<think>" + "maybe a dog, maybe a horse. " * 2000
    assert JUDGE.judge(f"{thoughts}</think>A cat.", LOOPED["10 classes"]).category == "correct"
    assert JUDGE.judge(thoughts, LOOPED["10 classes"]).category == "extrinsic"


spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda one: (one[0], one[0] + one[1])), max_size=9
)


@given(spans, st.integers(0, 40), st.integers(1, 9))
def test_spans_by_the_definition(found: list[tuple[int, int]], start: int, length: int) -> None:
    end = start + length
    assert Spans(found).meets(start, end) == any(one < end and start < other for one, other in found)
    assert Spans(found).covers(start) == any(one <= start < other for one, other in found)


@given(spans)
def test_overlaps_by_the_definition(found: list[tuple[int, int]]) -> None:
    taken: list[int] = []
    for number, (start, end) in enumerate(found):
        if all(end <= found[other][0] or start >= found[other][1] for other in taken):
            taken.append(number)
    assert without_overlaps(found) == taken


@given(st.text("ab", max_size=12), st.integers(0, 13), st.integers(0, 13))
@settings(max_examples=200)
def test_places_by_the_definition(text: str, start: int, end: int) -> None:
    import re

    places = Places(re.compile("a"), text)
    there = [place for place, letter in enumerate(text) if letter == "a"]
    assert places.first(start) == min((place for place in there if place >= start), default=len(text))
    assert places.last(end) == max((place for place in there if place < end), default=-1)
    assert places.count(start, end) == sum(start <= place < end for place in there)
