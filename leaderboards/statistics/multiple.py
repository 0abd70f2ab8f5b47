"""Several tasks at once: adjusted p-values, and the interval of a mean over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, in the order given.

    Sorted p₁ ≤ … ≤ p_m become max over j ≤ i of min(1, (m − j + 1)·p_j). Rejecting where that is ≤ α keeps the
    chance of any false rejection at α, whatever the dependence between the tests.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65–70.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def mean_bounds(estimates: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return both bounds of the unweighted mean of independent estimates, each (lower, estimate, upper).

    mean − √Σ(estimateᵢ − lowerᵢ)² / m and mean + √Σ(upperᵢ − estimateᵢ)² / m: bounds that are not symmetric stay so.
    Source: the method of variance estimates recovery (MOVER), Zou and Donner, Statistics in Medicine 27 (2008)
    1693–1702. A single estimate keeps its bounds.
    """
    m = len(estimates)
    mean = sum(estimate for _, estimate, _ in estimates) / m
    below = sqrt(sum((estimate - lower) ** 2 for lower, estimate, _ in estimates)) / m
    above = sqrt(sum((upper - estimate) ** 2 for _, estimate, upper in estimates)) / m
    return mean - below, mean + above
