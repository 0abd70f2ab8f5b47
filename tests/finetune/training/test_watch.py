"""Watching other tasks while a model trains: on scores that are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.recipes.schema import Probe
from finetune.training.watch import Standing, Watch

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


@pytest.mark.parametrize(
    ("look_s", "steps", "every"),
    [
        (1.0, 1000, 40),  # 1 s is 5 % of 20 s, which is 40 steps of half a second
        (1.0, 100, 25),  # a short training still gets four looks
        (0.001, 1000, 1),
        (1.0, 3, 1),
    ],
)
def test_how_often_to_look_by_what_a_look_takes(look_s, steps, every):
    watch = Watch(Probe(tasks=("kept",)), Known(kept=POOL), steps, seed=0)
    watch.start(None)
    watch._look_s = look_s
    assert not watch.due(1)
    decided = [watch.timed(step, 5.0 if step == 1 and steps > 3 else 0.5) for step in range(1, min(steps, 6) + 1)]
    assert [found for found in decided if found] == [every]
    assert watch.due(every) and watch.every == every


def test_a_resumed_run_looks_as_often(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 4, "probe_every": 7}\n{"step": 9}\n')
    watch = Watch(Probe(tasks=("kept",)), Known(kept=POOL), 100, seed=0)
    watch.restore(log, 9)
    assert watch.every == 7 and watch.timed(10, 0.5) is None


def test_the_task_that_is_learned_raises_no_alarm():
    live = Known(learned=0, kept=POOL)
    watch = Watch(Probe(tasks=("learned", "kept"), learn="learned", every=10, stop=2.0), live, 200, seed=0)
    watch.start(None)
    live.train()
    for step in range(10, 200, 10):
        seen = watch.look(None, step)
    assert watch.forgotten == [] and "evidence" not in seen["learned"]
    assert watch.in_a_line(190, seen) == "step 190: learned -100 points, kept +0"


def test_what_is_to_be_learned_must_be_watched():
    with pytest.raises(UserError, match=r"probe\.learn: other is not one of probe\.tasks"):
        Watch(Probe(tasks=("kept",), learn="other"), Known(kept=POOL), 10, seed=0)
    with pytest.raises(UserError, match=r"beside probe\.learn there is none"):
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


def test_the_best_passes_and_learned_most():
    gentle, best, greedy = (
        Standing(1, 10, 0, "a", True),
        Standing(2, 20, 1.9, "a", True),
        Standing(3, 40, 9, "a", False),
    )
    assert sorted([greedy, gentle, best], key=lambda one: one.rank) == [best, gentle, greedy]
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
