"""Which example comes when: exact ratios, a seeded order, the same for any number of processes.

An epoch goes once through the first source; the others are drawn in proportion. Within an epoch the sources
interleave evenly, so that every batch has its share of each, to within one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from emt_core.errors import UserError
from finetune.recipes.schema import Mixture

Indices = npt.NDArray[np.int64]

LENGTH_WINDOW = 32
"""How many batches of examples are grouped by length together."""


class Plan:
    """How many examples each source gives in an epoch, and in which order.

    Args:
        sizes: the number of examples in each source.
        counts: the number drawn from each in one epoch.
        repeats: whether a source is reshuffled and repeated when it runs out; otherwise all restart with each epoch.
        seed: seed of the order.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int], *, repeats: bool, seed: int) -> None:
        self.sizes, self.counts, self.repeats, self.seed = tuple(sizes), tuple(counts), repeats, seed
        self._epochs = lru_cache(maxsize=2)(self._epoch)

    @property
    def epoch_size(self) -> int:
        """Examples in an epoch."""
        return sum(self.counts)

    def steps(self, batch: int, epochs: float) -> int:
        """Return the steps in some epochs; the last batch is filled with the next examples."""
        return max(1, ceil(self.epoch_size * epochs / batch - 1e-9))

    def batch(self, number: int, size: int) -> Indices:
        """Return the examples of one step, `(size, 2)`: source and index in it. Batch 0 comes first."""
        places = np.arange(number * size, (number + 1) * size)
        epochs = places // self.epoch_size
        parts = [self._epochs(int(epoch))[places[epochs == epoch] % self.epoch_size] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> Indices:
        """Return all examples of an epoch in order, `(epoch_size, 2)`."""
        draws = [self._draw(source, epoch) for source in range(len(self.sizes))]
        sources = np.repeat(np.arange(len(draws)), self.counts)
        # The k-th of n draws falls due in the middle of the k-th of n equal spans of the epoch.
        due = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in self.counts])
        order = np.lexsort((sources, due))
        return np.stack([sources, np.concatenate(draws)], axis=1)[order]

    def _draw(self, source: int, epoch: int) -> Indices:
        """Return a source's examples in an epoch: the next from its endless series of shuffled passes."""
        size, count = self.sizes[source], self.counts[source]
        start = epoch * count if self.repeats else epoch * size
        passes = range(start // size, (start + max(count, 1) - 1) // size + 1)
        row = np.concatenate([np.random.default_rng([self.seed, source, turn]).permutation(size) for turn in passes])
        return row[start % size : start % size + count]


def plan(mixture: Mixture, sizes: Sequence[int], seed: int) -> Plan:
    """Compute how many examples each source gives in an epoch.

    Args:
        mixture: ratios, and what happens when a source runs dry.
        sizes: the number of examples of each source.
        seed: of the order.

    Raises:
        UserError: `when_dry: stop` leaves no example at all.
    """
    ratios = shares(mixture, sizes)
    if mixture.when_dry == "repeat":
        others = round(sizes[0] / ratios[0]) - sizes[0]
        counts = [sizes[0], *_round(ratios[1:], others)]
    else:
        total = min(size / ratio for size, ratio in zip(sizes, ratios, strict=True))
        counts = [min(count, size) for count, size in zip(_round(ratios, int(total)), sizes, strict=True)]
    if not counts[0]:
        names = ", ".join(source.data for source in mixture.used)
        raise UserError(f"mixture: of {names} with {', '.join(map(str, sizes))} examples, one runs dry immediately")
    return Plan(sizes, counts, repeats=mixture.when_dry == "repeat", seed=seed)


def shares(mixture: Mixture, sizes: Sequence[int]) -> list[float]:
    """Return each source's share of the training examples; by size if no source has a ratio."""
    given = [source.ratio for source in mixture.used]
    if all(ratio is None for ratio in given):
        return [size / sum(sizes) for size in sizes]
    rest = 1 - sum(ratio for ratio in given if ratio is not None)
    return [rest if ratio is None else ratio for ratio in given]


def by_length(batches: Sequence[Indices], lengths: Sequence[int], seed: int) -> list[Indices]:
    """Return as many batches of the same examples, grouped by length, in a shuffled order.

    Each batch has as many examples of each source as one of the given batches: grouping changes which of a source's
    examples meet, and not how the sources mix.

    Args:
        batches: each `(size, 2)`.
        lengths: of their examples, in order.
        seed: seed of the batches' order.
    """
    examples = np.concatenate(batches)
    owners = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    grouped = np.empty_like(owners)
    for source in np.unique(examples[:, 0]):
        own = np.flatnonzero(examples[:, 0] == source)
        # The source's shortest examples go to the first batch that has any of it, and so on.
        grouped[own[np.argsort(np.asarray(lengths)[own], kind="stable")]] = owners[own]
    order = np.random.default_rng(seed).permutation(len(batches))
    return [examples[grouped == place] for place in order]


def grouped_together(plan: Plan, number: int, size: int, steps: int) -> range:
    """Return the batches that one batch is grouped by length with: up to `LENGTH_WINDOW`, of its epoch and its run.

    So an epoch goes through every example once, grouped or not. A batch that begins in one epoch and ends in the next
    is by itself.
    """
    epoch = number * size // plan.epoch_size
    first, end = ceil(epoch * plan.epoch_size / size), (epoch + 1) * plan.epoch_size // size
    if not first <= number < end:
        return range(number, number + 1)
    start = first + (number - first) // LENGTH_WINDOW * LENGTH_WINDOW
    return range(start, min(start + LENGTH_WINDOW, end, max(steps, number + 1)))


def _round(ratios: Sequence[float], total: int) -> list[int]:
    """Split a total in proportion to the ratios, by largest remainder."""
    whole = sum(ratios)
    exact = [ratio / whole * total for ratio in ratios] if whole else [0.0] * len(ratios)
    counts = [int(share + 1e-9) for share in exact]
    for place in sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])[
        : total - sum(counts) if whole else 0
    ]:
        counts[place] += 1
    return counts
