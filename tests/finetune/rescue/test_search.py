"""The search: on scores that are drawn from known accuracies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.rescue.merges import Merge, Sparse
from finetune.rescue.search import SHARES, SPARSE, Aim, Trial, better, chosen, refine, search, weigh

DOCUMENTS = 128


def drawn(accuracy: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(DOCUMENTS) < accuracy).astype(float)


def world(kept: Callable[[Merge], float], learned: Callable[[Merge], float]):
    """A base that is right on everything but the new task, and merges whose accuracies are known."""
    asked: list[tuple[Merge, int]] = []

    def evaluate(merge: Merge, count: int) -> dict[str, np.ndarray]:
        asked.append((merge, count))
        return {"new": drawn(learned(merge), 1)[:count], "old": drawn(kept(merge), 2)[:count]}

    base = {"new": np.zeros(DOCUMENTS), "old": np.ones(DOCUMENTS)}
    return evaluate, Aim("new", 1.0, {"old": 0.05}, base), asked


def test_a_trial_by_hand():
    aim = Aim("new", 0.5, {"old": 0.1}, {"new": np.zeros(4), "old": np.ones(4)})
    trial = weigh(Merge(0.3), {"new": np.array([1.0, 0, 0, 0]), "old": np.array([1.0, 1, 1, 0])}, aim)
    assert (trial.learned, trial.drops) == (0.5, {"old": 0.25})
    assert trial.worst == pytest.approx(0.25 + 2 * 0.25 - 0.1)  # the standard error of 0, 0, 0, 1 is 1/4
    assert not trial.promising


def test_what_keeps_is_found_and_learns_most_of_those():
    """All is kept from 0.5 on, and less is learned with more of the base."""
    evaluate, aim, asked = world(lambda m: 1.0 if m.share >= 0.5 else 0.6, lambda m: 1 - 0.5 * m.share)
    trials = search(evaluate, aim, SHARES, first=16, most=DOCUMENTS)
    assert trials[0].merge.share == 0.5 and trials[0].promising and trials[0].documents == DOCUMENTS
    assert {trial.merge.share for trial in trials} == set(SHARES)
    by_round = [sum(count == size for _, count in asked) for size in (16, 32, 64, 128)]
    assert by_round == [10, 5, 3, 2]


@pytest.mark.parametrize("first", [1, 4, 16, 100])
def test_the_last_round_has_all_documents(first):
    """Also where halving leaves one merge long before."""
    evaluate, aim, _ = world(lambda m: 1.0, lambda m: 1.0)
    trials = search(evaluate, aim, SHARES, first=first, most=DOCUMENTS)
    assert trials[0].documents == DOCUMENTS
    assert refine(evaluate, aim, trials, [], first=first, documents=DOCUMENTS)[0].documents == DOCUMENTS


def test_where_nothing_keeps_the_least_loss_comes_first():
    evaluate, aim, _ = world(lambda m: 0.3 + 0.5 * m.share, lambda m: 1.0)
    best = search(evaluate, aim, SHARES, first=32, most=DOCUMENTS)[0]
    assert best.merge.share >= 0.8 and not best.promising


def test_a_part_that_forgets_gets_the_base_s_weights():
    """All forgetting is in the tower, and all learning elsewhere."""

    def kept(merge: Merge) -> float:
        return 1.0 if merge.of("vision") == 1.0 else 0.6

    evaluate, aim, _ = world(kept, lambda m: 1 - 0.5 * m.of("llm"))
    start = weigh(Merge(0.5), evaluate(Merge(0.5), DOCUMENTS), aim)
    best = refine(evaluate, aim, [start], ["vision", "llm"], first=32, documents=DOCUMENTS)[0]
    assert (best.merge.of("vision"), best.merge.of("llm")) == (1.0, 0.0) and best.promising


def test_a_merge_that_is_no_better_is_tried_on_few_documents():
    """What changed is sparse and loses everything: after 16 documents that is known."""
    evaluate, aim, asked = world(lambda m: 0.0 if m.sparse else 1.0, lambda m: 0.8)
    start = weigh(Merge(0.5), evaluate(Merge(0.5), DOCUMENTS), aim)
    found = refine(evaluate, aim, [start], [], first=16, documents=DOCUMENTS)
    assert {count for merge, count in asked if merge.sparse} == {16}
    assert {trial.documents for trial in found if trial.merge.sparse} == {16} and found[0].merge.sparse is None


def test_the_largest_of_what_changed_is_found_where_it_learns_more():
    evaluate, aim, _ = world(lambda m: 1.0, lambda m: 0.9 if m.sparse == SPARSE[1] else 0.5)
    start = weigh(Merge(0.5), evaluate(Merge(0.5), DOCUMENTS), aim)
    best = refine(evaluate, aim, [start], [], first=32, documents=DOCUMENTS)[0]
    assert best.merge.sparse == SPARSE[1]


def test_of_what_learned_about_as_much_the_safest_is_chosen():
    """1 of 100 documents lost by all three: more of the base is safer; a tenth less learned is too much to give."""
    found = [Trial(Merge(share), 100, learned, -0.01, {}) for share, learned in ((0.7, 1.0), (0.8, 0.96), (0.9, 0.9))]
    assert chosen(found).merge.share == 0.8
    unsafe = Trial(Merge(0.6), 100, 1.2, 0.01, {})
    assert chosen([*found, unsafe]).merge.share == 0.8
    assert chosen([unsafe]) is unsafe


trials = st.builds(Trial, st.builds(Merge, st.floats(0, 1)), st.just(8), st.floats(0, 1), st.floats(-1, 1), st.just({}))


@given(trials, trials)
def test_promising_trials_come_before_others_whatever_they_learned(one, other):
    if one.promising and not other.promising:
        assert better(one) < better(other)
    if one.promising and other.promising and one.learned > other.learned:
        assert better(one) < better(other)


def test_a_merge_in_words():
    assert str(Merge(0.35)) == "0.35 of the base"
    assert str(Merge(0.0, sparse=Sparse("ties", 0.1))) == "0.00 of the base, the largest 10 % of what changed (TIES)"
    assert str(Merge(0.35, {"vision": 1.0, "llm": 0.0})) == "0.35 of the base, 0.00 of its llm, 1.00 of its vision"


def test_a_merge_of_an_adapter_in_words():
    """What is left of the base's share is the adapter's scale."""
    assert Merge(0.35).as_scale() == "the adapter scaled by 0.65"
    assert Merge(0.35, {"llm": 0.0}).as_scale() == "the adapter scaled by 0.65, by 1.00 in llm"
    both = Merge(0.0, sparse=Sparse("dare", 0.1)).as_scale()
    assert both == "the adapter scaled by 1.00, a random 10 % of what changed (DARE)"
