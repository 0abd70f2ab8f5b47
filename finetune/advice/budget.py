"""What a model and a device's memory allow: the size of each part, and the batch for which training it leaves room.

Only the model's configuration and its processor are read, no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from emt_core.errors import UserError, listed
from finetune.data.collate import IGNORED, TrainingCollator
from finetune.data.conversations import TrainingExample
from finetune.model import building
from finetune.model.parts import Parts, find_parts
from finetune.recipes.schema import Recipe
from finetune.training.memory import Memory, Workload

MEASURED = 8
"""Examples whose tokens are counted."""

ROOM = 0.9
"""The share of a device's memory that a step may need by the estimate, which is rough."""

_ENOUGH = 8
"""Examples at a time from which no time is saved by larger ones, to speak of; fewer only where memory is short."""


@dataclass(frozen=True)
class Sizes:
    """A model in numbers.

    Attributes:
        parts: weights of each part.
        adapters: weights of an adapter of rank 1 on each part's linear layers and experts.
        step: a step on `MEASURED` examples with nothing trained; without tokens where the data is not here.
    """

    parts: Mapping[str, int]
    adapters: Mapping[str, int]
    step: Workload

    @property
    def weights(self) -> int:
        """All weights."""
        return self.parts["full"]

    def trained(self, recipe: Recipe) -> int:
        """Return how many weights a recipe trains."""
        return sum(
            chosen.lora.rank * self.adapters.get(part, 0) if chosen.lora else self.parts[part]
            for part, chosen in recipe.parts.items()
        )

    def memory(self, recipe: Recipe) -> Memory:
        """Estimate the memory of a step of `batch.micro` examples."""
        trained = self.trained(recipe)
        in_place = sum(self.parts[part] for part, chosen in recipe.parts.items() if not chosen.lora)
        work = replace(self.step, trained=trained, frozen=self.step.frozen - in_place)
        return work.memory(recipe, examples=recipe.batch.micro / MEASURED)


@dataclass(frozen=True)
class Fit:
    """How a recipe fits into memory: examples at a time, with gradient checkpointing or not, and what it then needs."""

    micro: int
    checkpointing: bool
    memory: Memory


def fit(sizes: Sizes, recipe: Recipe, available: int) -> Fit | None:
    """Return the fastest way in which a step fits into so many bytes; None if it does not.

    That is without gradient checkpointing where enough examples fit at a time, else with it.

    Raises:
        UserError: the model lacks a part.
    """
    lacking = [part for part in recipe.parts if part not in sizes.parts]
    if lacking:
        raise UserError(f"train: this model has no part {lacking[0]!r}; it has {listed(sizes.parts)}")
    sizes_tried = [micro for micro in range(recipe.batch.size, 0, -1) if recipe.batch.size % micro == 0]
    for checkpointing in (False, True):
        for micro in sizes_tried:
            if not checkpointing and micro < min(_ENOUGH, recipe.batch.size):
                break
            batch = recipe.batch.model_copy(update={"micro": micro})
            memory = sizes.memory(recipe.model_copy(update={"batch": batch, "gradient_checkpointing": checkpointing}))
            if memory.total <= ROOM * available:
                return Fit(micro, checkpointing, memory)
    return None


def measure(recipe: Recipe, groups: Sequence[Sequence[TrainingExample]]) -> Sizes:
    """Return a model's sizes, and those of a batch.

    Args:
        recipe: names the model.
        groups: examples of each source of the mixture; the longest source counts, as a batch is padded to its longest.

    Raises:
        UserError: there is no such model, it is no image-text-to-text model, or it cannot take the examples.
    """
    model: Any = building.empty_model(recipe)
    model.get_output_embeddings()
    parts = find_parts(model)
    counts = {name: weights.numel() for name, weights in model.named_parameters()}
    text = model.config.get_text_config()
    collator = building.make_collator(model, building.load_processor(recipe))
    tokens, answer_tokens = max((_tokens(collator, group) for group in groups), default=(0.0, 0.0))
    linears = dict(model.named_modules())
    step = Workload(
        trained=0,
        frozen=sum(counts.values()),
        tokens=ceil(MEASURED * tokens),
        answer_tokens=ceil(MEASURED * answer_tokens),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        vocabulary=text.vocab_size,
        quantized=sum(linears[name].weight.numel() for name in parts.linears.get("llm", ())),
    )
    sizes = {part: sum(counts[name] for name in names) for part, names in parts.parameters.items()}
    return Sizes(sizes, {part: _adapter(model, parts, part) for part in parts.parameters}, step)


def _adapter(model: Any, parts: Parts, part: str) -> int:
    """Return the weights of adapters of rank 1: a row and a column of each matrix."""
    modules, weights = dict(model.named_modules()), dict(model.named_parameters())
    linear = sum(sum(modules[name].weight.shape) for name in parts.linears.get(part, ()))
    shapes = [weights[name].shape for name in parts.experts.get(part, ())]
    return int(linear + sum(experts * (rows + columns) for experts, rows, columns in shapes))


def _tokens(collator: TrainingCollator, examples: Sequence[TrainingExample]) -> tuple[float, float]:
    """Return the tokens for each example of a batch, padded, and those of its answers; zeros without examples.

    Only examples with as many images as the first are taken, as in a batch, and those whose images can be read.
    """
    chosen: list[TrainingExample] = []
    images = []
    for example in examples:
        if len(chosen) < MEASURED and example.image_count == examples[0].image_count:
            try:
                images.append(example.load_images())
            except UserError:  # a run will refuse the row, and name it
                continue
            chosen.append(example)
    if not chosen:
        return 0.0, 0.0
    batch = collator(chosen, images, [0] * len(chosen))
    return batch.labels.numel() / len(chosen), int((batch.labels != IGNORED).sum()) / len(chosen)
