"""Where no merge passes: the cheapest way to train again, by what the forgetting was caused by."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.recipes.files import checked, read
from finetune.recipes.schema import Recipe

WIDTH = 120
"""Characters of a header's line."""

RATE_SHARE = 0.1
"""Of the learning rate that forgot."""

OTHER_DATA = 0.1
"""The share of the examples that comes from other data."""

UNKNOWN, DATA = "???", "mixture.sources.0.data"
"""A value that has to be given, as OmegaConf writes it: reading the recipe names the field. And the one that may be."""

RATE, LORA_RATE = 2e-5, 2e-4
"""Of a candidate that does not say how it was trained: LLaVA-1.5's, in full and by LoRA."""


@dataclass(frozen=True, slots=True)
class Cure:
    """What to change about a training that forgot, why, and who found it."""

    rate: float = 1.0
    other_data: float = 0.0
    freeze: tuple[str, ...] = ()
    why: str = ""
    source: str = ""


CURES: Mapping[str, Cure] = {
    "format": Cure(
        other_data=OTHER_DATA,
        why="the right answer is still the likeliest, only not what is written: some data of other formats repairs it",
        source="arXiv 2603.14493, figure 4",
    ),
    "mouth": Cure(
        rate=RATE_SHARE,
        why="the language model lost it, though the image is still seen: a tenth of the rate",
        source="arXiv 2603.14493, figure 2",
    ),
    "eye": Cure(
        freeze=("vision",),
        why="the vision tower lost it: leave the tower frozen",
        source="arXiv 2603.14493, figure 2",
    ),
    "unclear": Cure(
        rate=RATE_SHARE,
        why="why it was lost is not known: a tenth of the rate, which prevents most forgetting",
        source="arXiv 2603.14493, figure 2",
    ),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What training again is for: the task that is learned, all tasks, the points that each may lose, where to."""

    learn: str
    tasks: tuple[str, ...]
    margin: float
    output: str


def retraining(recipe: Recipe, cause: str, other_data: Sequence[str], goal: Goal) -> tuple[Recipe, Cure]:
    """Return the recipe changed as the cause demands, and what was changed.

    The training is watched, ends once more than the margin is lost, and its best checkpoint is kept. Without other data
    at hand, or where nothing but the tower is trained, the rate is lowered instead.
    """
    cure = CURES[cause]
    parts = dict(recipe.train)
    left = {part: settings for part, settings in parts.items() if part not in cure.freeze}
    if cure.freeze and "full" in parts:
        left = dict.fromkeys(("projector", "llm"))
    if (cure.other_data and not other_data) or not left:
        cure, left = CURES["unclear"], parts
    fields: dict[str, Any] = recipe.model_dump(mode="json", exclude={"parameters"})
    fields["train"] = {part: None if settings is None else settings.model_dump() for part, settings in left.items()}
    fields["optimiser"]["learning_rate"] *= cure.rate
    for settings in fields["train"].values():
        if settings and settings["learning_rate"]:
            settings["learning_rate"] *= cure.rate
    if cure.other_data:
        fields["mixture"]["sources"] = _mixed(fields["mixture"]["sources"], other_data, cure.other_data)
    fields["probe"] = {"tasks": list(goal.tasks), "learn": goal.learn, "stop": goal.margin or None}
    fields["save"]["keep"] = "best"
    fields["output"] = goal.output
    return Recipe.model_validate(fields), cure


def _mixed(sources: Sequence[dict[str, Any]], others: Sequence[str], share: float) -> list[dict[str, Any]]:
    """Return the sources with less of each that states a ratio, and the others with equal parts of the share."""
    kept = [{**one, "ratio": None if one["ratio"] is None else one["ratio"] * (1 - share)} for one in sources]
    return [*kept, *({"data": name, "ratio": share / len(others)} for name in others)]


def assumed(model: str, parts: Sequence[str], adapter: Mapping[str, Any] | None) -> Recipe:
    """Return a recipe for a candidate that came without one: the shipped one that is nearest, with its data unknown.

    Args:
        model: the base.
        parts: those that fine-tuning changed.
        adapter: PEFT's settings of a LoRA candidate.
    """
    fields = read("forgetting_single").model_dump(mode="json", exclude={"parameters"})
    lora = None
    if adapter is not None:
        lora = {"rank": adapter["r"], "alpha": adapter["lora_alpha"], "dropout": adapter.get("lora_dropout") or 0.0}
        lora |= {"rslora": bool(adapter.get("use_rslora")), "dora": bool(adapter.get("use_dora"))}
    inside = ("llm_attention", "llm_gate_up") if "llm" in parts else ()
    fields["train"] = {part: {"lora": lora} for part in parts if part not in inside}
    fields["optimiser"]["learning_rate"] = LORA_RATE if lora else RATE
    fields |= {"model": model, "mixture": {"sources": [{"data": UNKNOWN}]}, "epochs": 1, "steps": None}
    fields |= {"save": {"every": "epoch"}, "evaluate": {}, "output": "runs/rescue"}
    return checked(fields, "the recipe for training again")


def written(recipe: Recipe, cure: Cure, found: str, command: str) -> str:
    """Return the recipe as a file whose header says what was found, why it is so, and how it is run."""
    lines = [f"No merge with the base was found that passes. {found}", f"So: {cure.why} ({cure.source})."]
    if recipe.mixture.sources[0].data == UNKNOWN:
        lines.append(
            "The candidate came without a recipe: what it changed is known, and the rest is as in forgetting_single. "
            f"Give {DATA}, a data set's name or a file; for a file whose images are elsewhere, images beside it."
        )
    comments = [f"# {one}" for line in lines for one in textwrap.wrap(line, WIDTH - 2)]
    return "\n".join([*comments, "#", f"# Run: {command}", recipe.to_yaml()])
