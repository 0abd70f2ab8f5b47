"""What the rules may ask: everything that was looked at, and the recipe as far as it has been proposed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Any

from emt_core.errors import UserError
from finetune.advice.budget import Fit, Sizes, fit
from finetune.advice.overlap import Placement
from finetune.advice.shape import Shape
from finetune.recipes.files import checked
from finetune.recipes.schema import Recipe, by_name

TINY, SMALL = 10**7, 10**9
"""Weights below which a model is like the demo's, and like the small real one of docs/evidence.md."""

OWN = "idt_idi"
"""The quadrant that training data is of."""

OTHERS = ("oodt_idi", "idt_oodi", "oodt_oodi")
"""The quadrants that training data does not cover."""

YOURS = "your choice"
"""What other data stands for that the user names, where nothing tells its quadrant."""

FEW = 20
"""Labels up to which EMT's projector learned about as much as LoRA (10 classes); of 100 it learned less."""


@dataclass(frozen=True, slots=True)
class Other:
    """Other training data for the mixture: its name, its number of examples, and the quadrant that it stands for."""

    data: str
    examples: int | None
    quadrant: str


@dataclass(frozen=True)
class Facts:
    """What was looked at.

    Attributes:
        data: the first source of the mixture.
        shape: the training data's.
        placements: where each task is for it.
        others: data for the mixture: one for each quadrant that is not covered, or what the user names.
        learned: a task at hand of the quadrant that the training data is of, where there is one.
        watched: a task at hand for each of the quadrants that it does not cover.
        evaluated: all placed tasks that are at hand.
        sizes: the model's; None if it could not be read.
        available: bytes of the device.
        fields: of the recipe, as proposed or given so far.
    """

    data: Mapping[str, Any]
    shape: Shape | None
    placements: tuple[Placement, ...]
    others: tuple[Other, ...]
    learned: str | None
    watched: tuple[str, ...]
    evaluated: tuple[str, ...]
    sizes: Sizes | None
    available: int
    fields: Mapping[str, Any] = field(default_factory=dict)

    def with_fields(self, **fields: Any) -> Facts:
        """Return these facts with other fields of the recipe."""
        return replace(self, fields={**self.fields, **fields})

    @cached_property
    def train(self) -> Mapping[str, Mapping[str, Any]]:
        """The parts to train, as far as they are chosen, with their settings."""
        chosen = by_name(self.fields.get("train", {}))
        return {part: settings or {} for part, settings in chosen.items()} if isinstance(chosen, dict) else {}

    @property
    def has_lora(self) -> bool:
        """Whether any part is trained by LoRA."""
        return any(settings.get("lora") for settings in self.train.values())

    @property
    def weights(self) -> int | None:
        """The model's weights."""
        return self.sizes.weights if self.sizes else None

    def has(self, part: str) -> bool:
        """Whether the model has a part; True if it could not be read."""
        return self.sizes is None or part in self.sizes.parts

    def fit(self, **fields: Any) -> Fit | None:
        """Return how the recipe, with these fields, fits into memory; None if it does not, or cannot be told.

        Raises:
            UserError: it is invalid, or the model lacks a part.
        """
        return fit(self.sizes, self.recipe(**fields), self.available) if self.sizes else None

    def fits(self, **fields: Any) -> bool:
        """Whether the recipe, with these fields, is valid and fits into memory; True if the model could not be read."""
        if self.sizes is None:
            return True
        try:
            return self.fit(**fields) is not None
        except UserError:  # such as a part that is quantized and trained in full
            if fields:
                return False
            raise

    def recipe(self, **fields: Any) -> Recipe:
        """Return the recipe so far, with these fields, and for what is still missing anything valid.

        Raises:
            UserError: a field that the user gave is invalid, or does not go with the others.
        """
        chosen = {"train": {"full": {}}, "mixture": {"sources": [dict(self.data)]}, **self.fields, **fields}
        for name, least in (("optimiser", {"learning_rate": 1e-6}), ("batch", {"size": 32, "micro": 1})):
            known = chosen.get(name, {})
            chosen[name] = {**least, **known} if isinstance(known, Mapping) else known
        if chosen.get("epochs") is None and chosen.get("steps") is None:
            chosen["epochs"] = 1
        return checked(chosen, "--advise")

    def steps(self) -> int | None:
        """Return the number of optimiser steps; None if the number of examples is not known."""
        recipe = self.recipe()
        if recipe.steps or self.shape is None or self.shape.examples is None:
            return recipe.steps
        own = self.shape.examples / (1 - sum(source.ratio or 0 for source in recipe.mixture.used))
        return ceil(own * (recipe.epochs or 1) / recipe.batch.size)
