"""The means in an lmms-eval results file, recomputed from rejudged samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Scores = Mapping[str, Sequence[float | None]]
"""A task's per-sample metrics by name; None if a sample is unscored."""

_NOT_AVAILABLE = "N/A"


def recompute(results: dict[str, Any], scores: Mapping[str, Scores]) -> None:
    """Update a results file's contents in place.

    `scores` has the rejudged tasks. Their means leave unscored samples out, and are None if nothing is scored. A
    group's mean is computed as before, weighted by size or not, whichever gave the old value; if neither did, it
    becomes None. Standard errors are lmms-eval's: s/√n for a task, the pooled one for a group. Those that it could
    not compute (`N/A`) stay so.
    """
    entries: dict[str, dict[str, Any]] = results["results"]
    before = {name: dict(entry) for name, entry in entries.items()}
    for task, metrics in scores.items():
        for key, metric, statistic in _statistics(entries.get(task, {})):
            if metric in metrics:
                entries[task][key] = _statistic(statistic, metrics[metric], entries[task][key])
    sizes = {task: counts.get("effective", 0) for task, counts in (results.get("n-samples") or {}).items()}
    sizes |= {task: max(map(len, metrics.values()), default=0) for task, metrics in scores.items()}
    members = results.get("group_subtasks") or {}
    for group in members:
        if group in entries and group not in scores:
            tasks = [task for task in _leaves(group, members) if task in entries]
            _recompute_group(entries[group], [(before[task], entries[task], sizes.get(task, 0)) for task in tasks])
    for group, entry in (results.get("groups") or {}).items():
        entry.update({key: value for key, value in entries.get(group, {}).items() if key in entry})


def _statistics(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each key of a results entry with its metric and statistic: `accuracy_stderr,none` is accuracy's stderr."""
    for key in entry:
        name, comma, _filter = key.partition(",")
        if comma:
            metric, _, statistic = name.partition("_stderr")
            yield key, metric, ("stderr" + statistic) if "_stderr" in name else "mean"


def _statistic(statistic: str, values: Sequence[float | None], old: Any) -> Any:
    scored = [value for value in values if value is not None]
    if statistic == "mean":
        return sum(scored) / len(scored) if scored else None
    if old == _NOT_AVAILABLE or len(scored) < 2 or statistic == "stderr_clustered":
        return _NOT_AVAILABLE
    # As lmms-eval does it, to the last bit.
    return float(np.std(scored, ddof=1) / np.sqrt(len(scored)))


def _leaves(group: str, members: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks of a group, including those of its sub-groups."""
    return [
        task for member in members[group] for task in (_leaves(member, members) if members.get(member) else [member])
    ]


def _recompute_group(entry: dict[str, Any], tasks: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], int]]) -> None:
    """Update a group's entry, given each task's old entry, new entry and size."""
    for key, _metric, statistic in list(_statistics(entry)):
        having = [(before[key], now[key], size) for before, now, size in tasks if key in now]
        old, new, sizes = ([triple[part] for triple in having] for part in range(3))
        if old == new:
            continue
        if statistic == "mean":
            entry[key] = _group_mean(entry[key], old, new, sizes)
        elif statistic == "stderr":
            entry[key] = _pooled(new, sizes)


def _group_mean(group_value: Any, old: list[Any], new: list[Any], sizes: list[int]) -> float | None:
    if not all(_is_number(value) for value in (group_value, *old, *new)):
        return None
    for weights in (sizes, [1] * len(sizes)):
        if sum(weights) and math.isclose(group_value, _weighted(old, weights), abs_tol=1e-9):
            return _weighted(new, weights)
    return None


def _weighted(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _pooled(errors: list[Any], sizes: list[int]) -> Any:
    """The standard error of the mean over all samples, as if drawn from one population (pooled variance)."""
    if not all(_is_number(error) for error in errors) or sum(sizes) <= len(sizes):
        return _NOT_AVAILABLE
    squares = sum((size - 1) * size * error**2 for size, error in zip(sizes, errors, strict=True))
    return math.sqrt(squares / (sum(sizes) - len(sizes)) / sum(sizes))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
