"""The loss on examples that are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from accelerate import Accelerator

from finetune.data.collate import TrainingCollator
from finetune.data.scan import scan, usable
from finetune.data.sources import TrainingSource, open_source
from finetune.recipes.schema import Recipe
from finetune.training.loss import answer_losses


def open_watched(recipe: Recipe, collator: TrainingCollator, **shared: Any) -> list[TrainingSource]:
    """Open the sources of `evaluate.loss_on`, and read every row as those that are trained on; `shared` is for `scan`.

    Raises:
        UserError: a source cannot be opened, or has rows that cannot be used.
    """
    sources = [open_source(entry, recipe.mixture.max_pixels) for entry in recipe.evaluate.loss_on]
    bad = scan(sources, recipe.mixture, collator.check, **shared).bad if sources else ()
    return usable(sources, recipe.mixture, bad, "evaluate.loss_on")


class Validation:
    """The sources of `evaluate.loss_on`, each process with its share.

    Args:
        recipe: the run's.
        sources: as `open_watched` returns them.
        collator: makes the batches, as in training.
        accelerator: the run's.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Sequence[TrainingSource],
        collator: TrainingCollator,
        accelerator: Accelerator,
    ) -> None:
        self._micro, self._collator, self._accelerator = recipe.batch.micro, collator, accelerator
        self._sources = sources
        data = [entry.data for entry in recipe.evaluate.loss_on]
        self.names = [name if name not in data[:place] else f"{name}#{place}" for place, name in enumerate(data)]

    def losses(self, model: torch.nn.Module) -> dict[str, float]:
        """Return each source's mean loss for an answer token in nats, over all processes; the model is left as it was.

        Raises:
            UserError: an example cannot be read.
        """
        head = self._accelerator.unwrap_model(model).get_output_embeddings()
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                sums = torch.stack([self._sum(model, head, source) for source in self._sources])
        finally:
            model.train(was_training)
        if self._accelerator.num_processes > 1:
            sums = self._accelerator.reduce(sums.to(self._accelerator.device), "sum").cpu()
        return {name: total / count for name, (total, count) in zip(self.names, sums.tolist(), strict=True)}

    def _sum(self, model: Any, head: Any, source: TrainingSource) -> torch.Tensor:
        """Return the sum of this process's losses, and the number of its answer tokens, `(2,)`."""
        rank, processes = self._accelerator.process_index, self._accelerator.num_processes
        examples = [source[index] for index in range(rank, len(source), processes)]
        examples.sort(key=lambda example: (example.image_count, example.length))
        total = torch.zeros(2, dtype=torch.float64)
        for _, same in groupby(examples, key=lambda example: example.image_count):
            group = list(same)
            for start in range(0, len(group), self._micro):
                chosen = group[start : start + self._micro]
                batch = self._collator(chosen, [example.load_images() for example in chosen], [0] * len(chosen))
                losses, _ = answer_losses(model, head, batch.to(self._accelerator.device))
                total += torch.tensor([losses.double().sum().item(), len(losses)], dtype=torch.float64)
        return total
