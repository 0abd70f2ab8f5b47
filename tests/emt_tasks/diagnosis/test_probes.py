"""Probes read what is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from emt_tasks.diagnosis import probes

RNG = np.random.default_rng(0)
LABELS = [str(number % 4) for number in range(400)]


def features(signal: float) -> np.ndarray:
    centres = np.random.default_rng(1).normal(size=(4, 20))
    noise = np.random.default_rng(2).normal(size=(400, 20))
    return (noise + signal * centres[[int(label) for label in LABELS]]).astype(np.float32)


def share_right(read: list[str]) -> float:
    return float(np.mean([name == label for name, label in zip(read, LABELS, strict=True)]))


def own_groups() -> list[str]:
    return [str(number) for number in range(len(LABELS))]


def test_what_is_there_is_read():
    assert share_right(probes.out_of_fold(features(3.0), LABELS, own_groups())) > 0.97


def test_noise_is_read_at_chance():
    assert share_right(probes.out_of_fold(features(0.0), LABELS, own_groups())) == pytest.approx(0.25, abs=0.09)


def test_documents_of_one_group_do_not_teach_each_other():
    """Each pair shares an image, and nothing else tells its label."""
    groups = [str(number // 8 * 4 + number % 4) for number in range(400)]
    images = np.random.default_rng(3).normal(size=(200, 300)).astype(np.float32)
    shared = images[[int(group) for group in groups]]
    assert share_right(probes.out_of_fold(shared, LABELS, groups)) == pytest.approx(0.25, abs=0.12)
    assert share_right(probes.out_of_fold(shared, LABELS, own_groups())) > 0.5


def test_the_same_documents_have_the_same_folds():
    first, second = (probes.out_of_fold(features(1.0), LABELS, own_groups()) for _ in range(2))
    assert first == second


def test_too_few_documents_of_a_class():
    assert not probes.can_be_folded(["a", "b", "c"], ["1", "2", "3"])
    assert not probes.can_be_folded(["a"] * 50, own_groups()[:50])
    assert probes.can_be_folded(LABELS, own_groups())
    ten_of_each = [str(number % 10) for number in range(40)]
    assert not probes.can_be_folded(ten_of_each, own_groups()[:40])  # four documents of each cannot fill five folds
    five = [str(number % 10) for number in range(50)]
    assert probes.can_be_folded(five, own_groups()[:50])
    probes.out_of_fold(features(1.0)[:50], five, own_groups()[:50])
    assert not probes.can_be_folded(["a", "b"] * 20, ["one image", "another"] * 20)


def test_a_class_without_features_of_its_own_is_not_invented():
    probe = probes.fit(features(3.0)[:200], LABELS[:200])
    assert set(probe.predict(features(3.0)[200:])) <= set(LABELS)
