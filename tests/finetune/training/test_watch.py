"""Watching other tasks while a model trains: on scores that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.recipes.schema import Probe
from finetune.training.watch import Watch

POOL = 64


class Known:
    """A base that is right on every document, and a model that is right on the first ones of its pools."""

    def __init__(self, **right: int) -> None:
        self.sizes = dict.fromkeys(right, POOL)
        self.right = dict.fromkeys(right, POOL)
        self._later = right

    def scores(self, model, places):
        return {task: (np.asarray(asked) < self.right[task]).astype(float) for task, asked in places.items()}

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


def test_faults_of_a_recipe_are_found_first(recipe_file):
    with pytest.raises(UserError, match="probe"):
        read(recipe_file(probe={"tasks": []}))
    with pytest.raises(UserError, match=r"probe\.stop"):
        read(recipe_file(probe={"tasks": ["demo_shapes"], "stop": 0}))
