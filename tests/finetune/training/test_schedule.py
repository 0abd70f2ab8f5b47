"""The learning rate, by hand."""

from __future__ import annotations

import pytest

from finetune.recipes.schema import Schedule
from finetune.training.schedule import factor


def test_warm_up_and_cosine_by_hand() -> None:
    # 10 steps, a fifth of them warm-up: 1/3, 2/3, then the peak; cosine over the 8 left: halfway, 4 on, it is 1/2.
    rates = [factor(Schedule(name="cosine", warmup=0.2), step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[6] == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_constant_without_warm_up() -> None:
    assert [factor(Schedule(name="constant", warmup=0), step, 3) for step in range(3)] == [1, 1, 1]
