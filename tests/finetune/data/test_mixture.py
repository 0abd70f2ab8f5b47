"""The order of training: exact shares, every example once a pass, the same for everyone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from finetune.data.mixture import Plan, by_length, grouped_together, plan
from finetune.recipes.schema import Mixture


def mixture(*ratios: float | None, when_dry: str = "repeat") -> Mixture:
    sources = [{"data": f"s{number}", "ratio": ratio} for number, ratio in enumerate(ratios)]
    return Mixture.model_validate({"sources": sources, "when_dry": when_dry})


def drawn(chosen: Plan, examples: int, start: int = 0) -> np.ndarray:
    return np.concatenate([chosen.batch(number, 1) for number in range(start, start + examples)])


def test_one_source_is_gone_through_once_an_epoch() -> None:
    chosen = plan(mixture(None), [7], seed=0)
    first, second = drawn(chosen, 7), drawn(chosen, 7, start=7)
    assert sorted(first[:, 1]) == sorted(second[:, 1]) == list(range(7))
    assert list(first[:, 1]) != list(second[:, 1])  # in another order


def test_counts_by_hand() -> None:
    # 100 of the first source are 30 % -> 333 in all -> 233 others, split 0.2 : 0.5 = 66.57 : 166.43 -> 67 and 166.
    chosen = plan(mixture(0.3, 0.2, 0.5), [100, 10, 1000], seed=0)
    assert chosen.counts == (100, 67, 166)
    # Without ratios: by size.
    assert plan(mixture(None, None), [30, 10], seed=0).counts == (30, 10)
    # A share of 70 % beside the rest.
    assert plan(mixture(None, 0.7), [30, 5], seed=0).counts == (30, 70)


def test_a_dry_source_repeats_in_a_new_order_across_epochs() -> None:
    # 6 and 6 of a source of 4: passes of 4 run on across the border of the epochs.
    chosen = plan(mixture(0.5, 0.5), [6, 4], seed=1)
    rows = drawn(chosen, 24)
    second = rows[rows[:, 0] == 1][:, 1]
    assert [sorted(second[start : start + 4]) for start in (0, 4, 8)] == [[0, 1, 2, 3]] * 3


def test_stop_ends_the_epoch_with_the_first_dry_source() -> None:
    # A source of 4 at 50 % lasts for 8 examples; the next epoch starts both anew.
    chosen = plan(mixture(0.5, 0.5, when_dry="stop"), [6, 4], seed=1)
    assert chosen.counts == (4, 4)
    rows = drawn(chosen, 16)
    for epoch in (rows[:8], rows[8:]):
        assert sorted(epoch[epoch[:, 0] == 1][:, 1]) == [0, 1, 2, 3]


def test_stop_with_nothing_to_give() -> None:
    with pytest.raises(UserError, match="runs dry immediately"):
        plan(mixture(0.1, 0.9, when_dry="stop"), [5, 1], seed=0)


def test_a_source_of_ratio_0_is_left_out() -> None:
    assert [source.data for source in mixture(None, 0.0).used] == ["s0"]


def test_sources_of_the_same_data_have_names_of_their_own() -> None:
    sources = [{"data": "mnist", "ratio": 0.5}, {"data": "mnist", "ratio": 0.3}, {"data": "cifar10"}]
    assert Mixture.model_validate({"sources": sources}).names == ["mnist", "mnist#1", "cifar10"]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=4),
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    seed=st.integers(0, 5),
)
def test_every_stretch_holds_its_share(sizes: list[int], weights: list[int], seed: int) -> None:
    total = sum(weights[: len(sizes)])
    ratios = [weight / total for weight in weights[: len(sizes)]]
    chosen = plan(mixture(*ratios), sizes, seed)
    rows = chosen.batch(0, chosen.epoch_size)
    assert list(np.bincount(rows[:, 0], minlength=len(sizes))) == list(chosen.counts)
    for end in range(1, len(rows)):
        counts = np.bincount(rows[:end, 0], minlength=len(sizes))
        shares = end * np.array(chosen.counts) / chosen.epoch_size
        assert np.abs(counts - shares).max() < len(sizes)
    for source, size in enumerate(sizes):  # nothing comes a second time before all came once
        order = rows[rows[:, 0] == source][:, 1]
        assert len(set(order[:size])) == min(size, len(order))


@given(batch=st.integers(1, 17), epochs=st.integers(1, 3))
def test_batches_are_one_row_cut_in_pieces(batch: int, epochs: int) -> None:
    chosen = plan(mixture(0.5, 0.5), [5, 3], seed=2)
    steps = chosen.steps(batch, epochs)
    assert steps * batch >= epochs * chosen.epoch_size > (steps - 1) * batch
    pieces = np.concatenate([chosen.batch(number, batch) for number in range(steps)])
    assert (pieces == drawn(chosen, steps * batch)).all()


def test_the_seed_decides() -> None:
    one, same, other = (plan(mixture(None), [50], seed).batch(0, 50) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


def test_grouping_by_length_keeps_all_examples_and_narrows_the_batches() -> None:
    batches = [np.array([[0, 4 * number + place] for place in range(4)]) for number in range(3)]
    lengths = [9, 1, 5, 9, 1, 5, 9, 1, 5, 9, 1, 5]  # of examples 0 to 11
    grouped = by_length(batches, lengths, seed=0)
    assert sorted(np.concatenate(grouped)[:, 1]) == list(range(12))
    assert sorted(sorted({lengths[index] for index in group[:, 1]}) for group in grouped) == [[1], [5], [9]]


def grouped_run(chosen: Plan, size: int, steps: int, lengths: np.ndarray, seed: int) -> list[np.ndarray]:
    """All batches of a run, grouped, each by itself as a resumed run asks for it."""
    found = []
    for number in range(steps):
        together = grouped_together(chosen, number, size, steps)
        assert number in together
        assert together.stop <= max(steps, 1)
        batches = [chosen.batch(one, size) for one in together]
        own = [int(lengths[source, index]) for source, index in np.concatenate(batches)]
        found.append(by_length(batches, own, seed + together.start)[number - together.start])
    return found


@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=3),
    first=st.floats(0.2, 0.8),
    size=st.integers(1, 12),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_grouping_by_length_changes_neither_what_is_seen_nor_how_it_mixes(
    sizes: list[int], first: float, size: int, epochs: int, seed: int
) -> None:
    ratios = [first, *[(1 - first) / (len(sizes) - 1)] * (len(sizes) - 1)] if len(sizes) > 1 else [None]
    chosen = plan(mixture(*ratios), sizes, seed)
    steps = chosen.steps(size, epochs)
    lengths = np.random.default_rng(seed).integers(1, 99, (len(sizes), max(sizes)))
    plain = [chosen.batch(number, size) for number in range(steps)]
    grouped = grouped_run(chosen, size, steps, lengths, seed)
    assert sorted(map(tuple, np.concatenate(plain))) == sorted(map(tuple, np.concatenate(grouped)))
    for epoch in range(epochs):
        # The batches that lie wholly in an epoch hold the same examples, grouped or not.
        whole = range(-(-epoch * chosen.epoch_size // size), min((epoch + 1) * chosen.epoch_size // size, steps))
        if whole:
            once, again = (np.concatenate([run[number] for number in whole]) for run in (plain, grouped))
            assert sorted(map(tuple, once)) == sorted(map(tuple, again))
    for batch in grouped:
        assert len(batch) == size
        if len(batch) * 2 <= chosen.epoch_size:
            # To within one example for each batch of an epoch and one for its end, each source has its share.
            expected = np.array(chosen.counts) / chosen.epoch_size * size
            assert np.abs(np.bincount(batch[:, 0], minlength=len(sizes)) - expected).max() <= 2


def test_an_epoch_of_320_examples_in_batches_of_8_sees_each_once() -> None:
    chosen = plan(mixture(None), [320], seed=0)
    lengths = np.random.default_rng(0).integers(1, 99, (1, 320))
    seen = np.concatenate(grouped_run(chosen, 8, 40, lengths, 0))[:, 1]
    assert sorted(seen) == list(range(320))  # 51 were missing, and 51 came twice
    spread = [np.ptp(lengths[0, batch[:, 1]]) for batch in grouped_run(chosen, 8, 40, lengths, 0)]
    assert np.mean(spread) < 15  # of 98
