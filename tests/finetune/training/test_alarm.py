"""The sequential alarm: seldom false, and raised where something is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.training.alarm import Alarm, first_alarm

LOOKS, DOCUMENTS, TRAININGS = 20, 40, 2000
MARGIN = 0.02


def drops(rng: np.random.Generator, lost: float, gained: float) -> np.ndarray:
    """A look's drops: 1 where an answer was lost, -1 where one was gained."""
    return rng.choice([1.0, -1.0, 0.0], DOCUMENTS, p=[lost, gained, 1 - lost - gained])


def alarms(trainings: int, *rates: tuple[float, float], seed: int = 0) -> float:
    """The share of trainings with an alarm, whose looks have these rates of lost and gained answers."""
    rng = np.random.default_rng(seed)
    found = [first_alarm([drops(rng, *rate) for rate in rates], MARGIN) for _ in range(trainings)]
    return float(np.mean([look is not None for look in found]))


@pytest.mark.slow
def test_false_alarms_over_two_thousand_trainings():
    """Nothing is lost, with 5 and with 20 % of the answers changed, and exactly the margin is lost."""
    for lost, gained in ((0.025, 0.025), (0.10, 0.10), (0.06, 0.04)):
        assert alarms(TRAININGS, *[(lost, gained)] * LOOKS) <= 0.05, (lost, gained)


def test_false_alarms_are_rare_in_a_few_trainings():
    assert alarms(100, *[(0.06, 0.04)] * LOOKS) <= 0.08


def test_a_large_loss_raises_it_soon():
    rng = np.random.default_rng(1)
    looks = [first_alarm([drops(rng, 0.30, 0.02) for _ in range(LOOKS)], MARGIN) for _ in range(50)]
    assert all(look is not None and look <= 4 for look in looks)


def test_a_late_loss_raises_it_too():
    rates = [(0.03, 0.03)] * 10 + [(0.30, 0.02)] * 10
    assert alarms(50, *rates, seed=2) >= 0.98


def test_capital_by_hand():
    """One look: the first bet is none, the second by what the first document taught."""
    alarm = Alarm(0.0, 1)
    alarm.add([1.0])
    assert alarm.capital == 1.0
    mean = (0.5 + 1.0) / 2
    variance = (0.25 + (1.0 - mean) ** 2) / 2
    bet = min((mean - 0.5) / (variance + (mean - 0.5) ** 2), 0.75 / 0.5)
    second = Alarm(0.0, 1)
    second.add([1.0, 1.0])
    assert second.capital == pytest.approx(1 + bet * 0.5)


@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=30), min_size=1, max_size=8))
def test_capital_is_never_negative_and_an_alarm_stays(looks):
    alarm, raised = Alarm(MARGIN, len(looks)), False
    for found in looks:
        now = alarm.add(found)
        assert alarm.capital >= 0
        if raised:
            break
        raised = now


def test_misuse_is_refused():
    alarm = Alarm(MARGIN, 1)
    with pytest.raises(ValueError, match="outside of -1 to 1"):
        alarm.add([2.0])
    alarm.add([])
    with pytest.raises(ValueError, match="more looks"):
        alarm.add([0.0])
