"""Which requests share a batch, and that preparing ahead changes nothing but the time."""

from __future__ import annotations

import threading

import pytest

from emt_tasks.models.batching import batches, prefetch
from emt_tasks.models.documents import Request


def requests(*lengths):
    return [Request(context="x" * length, payload=None) for length in lengths]


def test_longest_first_and_never_mixed():
    # Setting a has prompts 0, 2, 3, 5 of lengths 3, 9, 3, 7: in batches of two, 2 and 5, then 0 and 3 as they came.
    plan = list(batches(requests(3, 5, 9, 3, 8, 7), 2, ["a", "b", "a", "a", "b", "a"]))
    assert plan == [[2, 5], [0, 3], [4, 1]]


def test_only_some_requests():
    assert list(batches(requests(1, 2, 3), 8, ["a"] * 3, among=[2, 0])) == [[2, 0]]
    assert list(batches([], 8, [])) == []


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_prefetch_keeps_the_order(depth):
    assert list(prefetch(lambda number: number * 2, range(7), depth)) == [0, 2, 4, 6, 8, 10, 12]


def test_prefetch_works_ahead_but_not_far():
    made = []
    ahead = threading.Event()

    def make(number):
        made.append(number)
        if number == 2:
            ahead.set()
        return number

    iterator = prefetch(make, range(100), depth=2)
    assert next(iterator) == 0
    assert ahead.wait(10)  # two more were made while nobody asked
    iterator.close()
    assert len(made) <= 4


def test_prefetch_raises_at_the_items_place():
    def make(number):
        if number == 2:
            raise ValueError("two")
        return number

    got = []
    with pytest.raises(ValueError, match="two"):
        got.extend(prefetch(make, range(5)))
    iterator = prefetch(make, range(5))
    assert [next(iterator), next(iterator)] == [0, 1]
