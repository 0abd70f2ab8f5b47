"""The batches of each step, prepared in the background: which examples, for which process, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import numpy as np

from emt_core.errors import UserError
from emt_tasks.models.batching import prefetch
from finetune.data.collate import TrainingBatch, TrainingCollator
from finetune.data.conversations import TrainingExample
from finetune.data.mixture import Indices, Plan, by_length, grouped_together
from finetune.data.sources import TrainingSource
from finetune.recipes.schema import Recipe

_DECODERS = 4


class Loader:
    """Yields the batches of one process, step by step.

    A step's examples depend only on the recipe. They are sorted by length, so that a batch has little padding, and
    dealt to the processes in turn.

    Args:
        recipe: batch size, and whether to group by length.
        sources: the mixture's, opened.
        plan: which examples come when.
        collator: makes the tensors.
        rank: this process's rank.
        processes: how many there are.

    Raises:
        UserError: the batch cannot be divided evenly.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Sequence[TrainingSource],
        plan: Plan,
        collator: TrainingCollator,
        *,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if recipe.batch.size % processes:
            raise UserError(f"batch.size: {recipe.batch.size} examples cannot be divided among {processes} processes")
        self._batch, self._seed = recipe.batch, recipe.seed
        self._steps = recipe.steps or plan.steps(recipe.batch.size, recipe.epochs or 1)
        self._sources, self._plan, self._collator = sources, plan, collator
        self._rank, self._processes = rank, processes
        self._window = lru_cache(maxsize=1)(self._grouped_window)

    def steps(self, start: int, stop: int) -> Iterator[list[TrainingBatch]]:
        """Yield the batches of each step while the next ones are prepared."""
        with ThreadPoolExecutor(_DECODERS, thread_name_prefix="emt-images") as decoders:
            yield from prefetch(partial(self.step, each=decoders.map), range(start, stop))

    def step(self, number: int, each: Callable[..., Iterable[Any]] = map) -> list[TrainingBatch]:
        """Return the batches of one step for this process; all examples of one batch have the same number of images.

        `each` maps a function over the examples to decode their images, such as a thread pool's `map`.
        """
        examples = [(int(source), self._sources[source][index]) for source, index in self._indices(number)]
        examples.sort(key=lambda item: (item[1].image_count, item[1].length))
        mine = examples[self._rank :: self._processes]
        images = list(each(lambda item: item[1].load_images(), mine))
        batches = []
        for _, same in groupby(zip(mine, images, strict=True), key=lambda item: item[0][1].image_count):
            group = list(same)
            for start in range(0, len(group), self._batch.micro):
                batches.append(self._collated(group[start : start + self._batch.micro]))
        return batches

    def _collated(self, group: Sequence[tuple[tuple[int, TrainingExample], list[Any]]]) -> TrainingBatch:
        (chosen, images) = zip(*group, strict=True)
        return self._collator([example for _, example in chosen], images, [source for source, _ in chosen])

    def _indices(self, number: int) -> Indices:
        if not self._batch.group_by_length:
            return self._plan.batch(number, self._batch.size)
        together = grouped_together(self._plan, number, self._batch.size, self._steps)
        return self._window(together)[number - together.start]

    def _grouped_window(self, together: range) -> list[Indices]:
        batches = [self._plan.batch(number, self._batch.size) for number in together]
        lengths = [self._sources[source][index].length for source, index in np.concatenate(batches)]
        return by_length(batches, lengths, self._seed + together.start)
