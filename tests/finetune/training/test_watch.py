"""Watching other tasks while a model trains: on scores that are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.recipes.schema import Probe
from finetune.training.evaluation import check_watched, watched
from finetune.training.pace import interval
from finetune.training.standing import Standing
from finetune.training.standing import best as first
from finetune.training.watch import Watch

POOL = 64


class Known:
    """A base that is right on every document, and a model that is right on the first ones of its pools."""

    def __init__(self, **right: int) -> None:
        self.sizes = dict.fromkeys(right, POOL)
        self.right = dict.fromkeys(right, POOL)
        self._later = right

    def answers(self, model, places):
        return {task: ["right" if place < self.right[task] else "wrong" for place in asked]
                for task, asked in places.items()}  # fmt: skip

    def scored(self, answers, places):
        return {task: np.array([float(answer == "right") for answer in given]) for task, given in answers.items()}

    def train(self) -> None:
        self.right = self._later


def watching(live: Known, *, looks: int = 20, stop: float | None = 2.0) -> Watch:
    watch = Watch(Probe(tasks=tuple(live.sizes), every=10, documents=32, stop=stop), live, 10 * looks, seed=0)
    watch.start(None)
    live.train()
    return watch


def test_a_task_that_is_lost_is_found_and_the_others_are_not():
    watch = watching(Known(lost=32, kept=POOL))
    seen = watch.look(None, 10)
    assert seen["kept"] == {"accuracy": 1.0, "base": 1.0, "drops": [0.0] * 32, "evidence": 1.0}
    assert 0.2 < seen["lost"]["accuracy"] < 0.8 and seen["lost"]["evidence"] > 1
    looks = 1
    while not watch.forgotten:
        looks += 1
        watch.look(None, 10 * looks)
    assert watch.forgotten == ["lost"] and looks <= 4


def test_without_a_limit_nothing_stops():
    watch = watching(Known(lost=0), stop=None)
    for step in range(10, 200, 10):
        watch.look(None, step)
    assert watch.forgotten == []


def test_looks_are_due_every_so_many_steps():
    watch = watching(Known(kept=POOL))
    assert [step for step in range(1, 31) if watch.due(step)] == [10, 20, 30]


def test_a_resumed_run_draws_the_same_and_knows_what_was_seen(tmp_path):
    whole, first, second = (watching(Known(lost=48)) for _ in range(3))
    log = tmp_path / "log.jsonl"
    lines = [{"step": step, "probe": first.look(None, step)} if step % 10 == 0 else {"step": step}
             for step in range(1, 31)]  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (10, 20, 30):
        whole.look(None, step)
    second.restore(log, 20)
    assert second.look(None, 30) == lines[-1]["probe"]
    assert second._alarms["lost"].capital == whole._alarms["lost"].capital


def test_how_often_to_look_is_found_by_the_first_steps():
    """A look of 1 s is to be 4 % of the time: 24 s of steps for each, 48 steps of half a second; not by the first."""
    watch = Watch(Probe(tasks=("kept",)), Known(kept=POOL), 1000, seed=0)
    watch.start(None)
    watch.pace.look = 1.0
    assert not watch.due(1)
    assert [watch.timed(seconds) for seconds in (9.0, 0.5, 0.5, 3.0, 0.5, 0.5, 0.5)] == [*[None] * 5, 48, None]
    assert watch.every == 48 and watch.due(48) and not watch.due(49)


@given(look=st.floats(1e-4, 1e4), step=st.floats(1e-4, 1e4))
def test_looks_take_at_most_a_twentieth_of_the_time(look, step):
    every = interval(look, step)
    assert look / (every * step + look) <= 0.05
    assert every == 1 or look / ((every - 1) * step + look) > 0.04  # nor are they rarer than planned


def test_a_resumed_run_looks_as_often(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 4, "probe_every": 7}\n{"step": 9}\n')
    watch = Watch(Probe(tasks=("kept",)), Known(kept=POOL), 100, seed=0)
    watch.restore(log, 9)
    assert watch.every == 7 and watch.timed(0.5) is None


def test_the_task_that_is_learned_raises_no_alarm():
    live = Known(learned=0, kept=POOL)
    watch = Watch(Probe(tasks=("learned", "kept"), learn="learned", every=10, stop=2.0), live, 200, seed=0)
    watch.start(None)
    live.train()
    for step in range(10, 200, 10):
        seen = watch.look(None, step)
    assert watch.forgotten == [] and "evidence" not in seen["learned"]
    assert watch.in_a_line(190, seen) == "step 190: learned -100, kept +0"


def test_a_look_is_told_in_a_line():
    """First what is learned, then what lost most; names without what all begin with; what does not fit is counted."""
    live = Known(demo_new=POOL, **{f"demo_{name}": POOL for name in ("a", "a_qa", "b")})
    watch = Watch(Probe(tasks=tuple(live.sizes), learn="demo_new"), live, 10, seed=0)
    found = {
        "demo_a": {"accuracy": 1.0, "base": 1.0, "kl": 0.0},
        "demo_a_qa": {"accuracy": 0.25, "base": 1.0, "kl": 1.234},
        "demo_b": {"accuracy": 0.5, "base": 1.0, "kl": 0.05},
        "demo_new": {"accuracy": 0.9, "base": 0.5, "kl": 0.987},
    }
    assert watch.in_a_line(3, found) == "step 3: new +40 KL 0.99, a_qa -75 KL 1.2, b -50 KL 0.05, a +0 KL 0"
    many = {f"demo_{'x' * 20}_{number}": found["demo_a"] for number in range(9)} | {"demo_new": found["demo_new"]}
    line = watch.in_a_line(100_000, many)
    assert len(line) < 80 and line.endswith("0 KL 0, 8 more")
    alone = Watch(Probe(tasks=("a_b",)), Known(a_b=POOL), 10, seed=0)
    assert alone.in_a_line(1, {"a_b": found["demo_b"]}) == "step 1: a_b -50 KL 0.05"


def test_what_is_to_be_learned_must_be_watched():
    with pytest.raises(UserError, match=r"probe\.learn: other is not one of probe\.tasks"):
        Watch(Probe(tasks=("kept",), learn="other"), Known(kept=POOL), 10, seed=0)
    with pytest.raises(UserError, match=r"probe\.tasks: kept is to be learned, and there is no other"):
        Watch(Probe(tasks=("kept",), learn="kept"), Known(kept=POOL), 10, seed=0)


def test_what_a_checkpoint_has_learned_and_lost():
    """48 of 64 right is 25 points lost, 62 of 64 is 3.125; what is learned is negative here."""
    live = Known(learned=48, lost=62, kept=POOL)
    watch = Watch(Probe(tasks=("learned", "lost", "kept"), learn="learned", stop=4.0), live, 10, seed=0)
    watch.start(None)
    live.train()
    standing = watch.standing(None, 5)
    assert standing == Standing(5, -25.0, 3.125, "lost", passes=True)
    assert str(standing) == "learned -25.0 points, lost at most 3.1 (lost)"


def test_a_loss_that_equals_the_margin_passes():
    """7 of 100 documents: 100 · 0.07 is 7.000000000000001."""
    assert Standing.of(1, {"new": -3.0, "old": 100 * float(np.mean([1.0] * 7 + [0.0] * 93))}, "new", 7.0).passes
    assert not Standing.of(1, {"new": -3.0, "old": 7.01}, "new", 7.0).passes
    assert Standing.of(1, {"new": 90.0, "old": -1.0}, "new", 7.0) == Standing(1, -90.0, -1.0, "old", True)


def test_the_best_passes_and_learned_most():
    gentle, best, greedy = (
        Standing(1, 10, 0, "a", True),
        Standing(2, 20, 1.9, "a", True),
        Standing(3, 40, 9, "a", False),
    )
    assert sorted([greedy, gentle, best], key=lambda one: one.rank) == [best, gentle, greedy]
    assert first([greedy, gentle, best]) == best and first([]) is None
    twin = replace(best, step=4)
    assert min([twin, best], key=lambda one: one.rank) == best
    worse = Standing(4, 50, 12, "a", False)
    assert min([worse, greedy], key=lambda one: one.rank) == greedy
    assert str(greedy).endswith("lost at most 9.0 (a), more than it may; no checkpoint lost less")


def test_faults_of_a_recipe_are_found_first(recipe_file):
    with pytest.raises(UserError, match=r"save\.keep: best needs probe\.learn"):
        read(recipe_file(save={"keep": "best"}))
    with pytest.raises(UserError, match="probe"):
        read(recipe_file(probe={"tasks": []}))
    with pytest.raises(UserError, match=r"probe\.stop"):
        read(recipe_file(probe={"tasks": ["demo_shapes"], "stop": 0}))
    with pytest.raises(UserError, match=r"probe: then: slower needs stop"):
        read(recipe_file(probe={"tasks": ["demo_shapes"], "then": "slower"}))


def test_what_is_to_be_learned_is_one_of_the_tasks_of_a_group():
    assert watched(Probe(tasks=("emt", "emt_mnist", "mmmu_val"))) == [
        "emt_mnist", "emt_cifar10", "emt_cifar100", "emt_miniimagenet", "mmmu_val"
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"probe\.learn: demo_matrix is not one of probe\.tasks \(demo_"):
        check_watched(Probe(tasks=("demo_matrix",), learn="demo_matrix"))
    with pytest.raises(UserError, match="there is no other to be forgotten"):
        check_watched(Probe(tasks=("demo_digits",), learn="demo_digits"))
    check_watched(Probe(tasks=("demo_matrix",), learn="demo_digits"))
    check_watched(None)
