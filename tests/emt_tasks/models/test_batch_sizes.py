"""`auto`: grows while there is room, backs off where there is none, and does nothing twice."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_tasks.models import batch_sizes
from emt_tasks.models.batch_sizes import MOST, START, BatchSize

CPU = torch.device("cpu")


class FakeMemory:
    """A device on which each prompt takes 10 bytes of so many that are free."""

    free = 1000

    def __init__(self, device):
        self.device = device

    def taken(self):
        return 10 * self.last


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(batch_sizes, "_Memory", FakeMemory)
    return FakeMemory


def attempt(size, most, memory):
    """Try a batch of the size that comes next on a device that has room for `most`; returns its result."""
    count = memory.last = size.now

    def run():
        if count > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return count

    return size.tried(count, CPU, run)


def test_it_doubles_while_that_many_fit(memory, monkeypatch):
    monkeypatch.setitem(MOST, "cpu", 1000)
    size, seen = BatchSize("auto"), []
    for _ in range(6):
        seen.append(attempt(size, 10_000, memory))
    # Each takes 10 of 1,000 bytes, and a batch may take 70 % of them: 70 prompts.
    assert seen == [START, 16, 32, 64, 70, 70]


def test_it_halves_where_memory_runs_out_and_never_comes_as_near_again(memory, monkeypatch):
    monkeypatch.setitem(MOST, "cpu", 1000)
    size = BatchSize("auto")
    seen = [(size.now, attempt(size, 40, memory)) for _ in range(7)]
    # 64 are too many: 32 again, and then at most three quarters of 64, 48, which are too many too: 24, and at most 36.
    assert seen == [(8, 8), (16, 16), (32, 32), (64, None), (32, 32), (48, None), (24, 24)]
    assert [attempt(size, 40, memory) for _ in range(3)] == [36, 36, 36]


@given(st.integers(1, 300))
def test_it_settles_below_what_there_is_room_for(most):
    size = BatchSize("auto")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch_sizes, "_Memory", FakeMemory)
        found = [attempt(size, most, FakeMemory) for _ in range(40)]
    assert all(one is None or one <= most for one in found)
    assert found[-10:] == [found[-1]] * 10
    assert found[-1] is not None and found[-1] >= min(most // 2, 16)


def test_a_single_prompt_that_is_too_large_is_an_error(memory):
    size = BatchSize("auto")
    assert [attempt(size, 0, memory) for _ in range(3)] == [None] * 3
    assert size.now == 1
    with pytest.raises(torch.cuda.OutOfMemoryError):
        attempt(size, 0, memory)


def test_a_batch_that_was_made_before_the_size_fell_is_divided(memory):
    size, memory.last = BatchSize("auto"), 4
    size.now = 1

    def run():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert size.tried(4, CPU, run) is None
    assert size.now == 1


def test_a_fixed_size_is_never_changed(memory):
    size = BatchSize(4)
    assert (attempt(size, 10, memory), size.now) == (4, 4)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        attempt(size, 3, memory)
    assert size.now == 4


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def run():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        BatchSize("auto").tried(8, CPU, run)


def test_the_memory_of_this_process_is_measured():
    memory = batch_sizes._Memory(CPU)
    taken = torch.ones(2**25)  # 128 MiB
    del taken
    assert 2**26 < memory.taken() < 2**31
    assert memory.free > 2**20


@pytest.mark.parametrize("asked", [0, -1, "many", "", 1.5])
def test_what_is_no_size_is_refused(asked):
    with pytest.raises(UserError, match=f"batch_size={asked}: expected an integer of at least 1, or auto"):
        BatchSize(asked)


def limited(lm, name, monkeypatch, most):
    """Let a method of the model run out of memory above so many prompts; returns what it was asked each time."""
    whole, asked = getattr(lm, name), []

    def run(first, batch, *rest):
        asked.append((len(batch.numbers), tuple(batch.numbers)))
        if len(batch.numbers) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(first, batch, *rest)

    monkeypatch.setattr(lm, name, run)
    return asked


@pytest.mark.parametrize("most", [1, 3, 5])
def test_answers_are_those_of_a_model_with_enough_memory_and_each_is_made_once(
    most, load, instances, monkeypatch, capfd
):
    requests = [*instances([{"max_new_tokens": 4}] * 11), *instances([{"max_new_tokens": 6}] * 5)]
    expected = list(load("llava", batch_size=1).generate_until(requests))
    lm = load("llava", batch_size="auto")
    asked = limited(lm, "_generate", monkeypatch, most)
    found = list(lm.generate_until(requests))
    assert [result.text for result in found] == [result.text for result in expected]
    done = Counter(number for count, numbers in asked if count <= most for number in numbers)
    assert done == Counter(range(16))
    assert any(count > most for count, _ in asked)
    assert lm.batch_sizes == {"emt_vlm": lm.batch_size}


def test_scores_are_too(load, instances, monkeypatch):
    requests = instances([" cat", " a dog", " bird"] * 6, "loglikelihood", each=3)
    alone = instances([" cat"] * 9, "loglikelihood")
    expected = [load("llava", batch_size=1).loglikelihood(part) for part in (requests, alone)]
    lm = load("llava", batch_size="auto")
    asked = limited(lm, "_score", monkeypatch, 2)
    found = [lm.loglikelihood(part) for part in (requests, alone)]
    for one, other in zip(found, expected, strict=True):
        assert [nll for nll, _ in one] == pytest.approx([nll for nll, _ in other], abs=1e-3)
    assert any(count > 2 for count, _ in asked)


def test_it_grows_on_a_real_model(load, instances, monkeypatch):
    lm = load("llava", batch_size="auto")
    asked = limited(lm, "_generate", monkeypatch, 1000)
    list(lm.generate_until(instances([{"max_new_tokens": 1}] * 12) * 8))
    counts = [count for count, _ in asked]
    assert counts[0] == START
    assert 2 * START <= max(counts) <= MOST["cpu"]
    assert sum(counts) == 96
