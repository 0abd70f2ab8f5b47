"""The conditions and the values of the rules: what is asked of the facts, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from finetune.advice.facts import FEW, SMALL, TINY, Facts

Condition = Callable[[Facts], bool]

OTHER = 0.3
"""The share of other data in all: the smallest that was measured, on the demo's model and on the small real one."""

MANY = 10_000
"""Examples from which one epoch is proposed, else three. Ours; EMT's data sets have 50,000 and more."""

STOP = 4.0
"""Points that a task may be shown to have lost before training ends: the gate's default margin."""

LORA = {"rank": 64, "alpha": 128}
"""As in forgetting_single_lora."""

_LOOKS = 10
"""How often the probe looks at least: few documents a look need many looks to show anything."""

_SAVES = 6
"""Checkpoints of which the best is kept, as in the tutorial's run; each is written and scored."""

_SAMPLE = 100
"""Examples of each source that a regulariser's reference is made of; tools.remedies has as many."""


def unread(facts: Facts) -> bool:
    """The model could not be read."""
    return facts.sizes is None


def tiny(facts: Facts) -> bool:
    """The model is like the demo's."""
    return facts.weights is not None and facts.weights < TINY


def small(facts: Facts) -> bool:
    """The model is like the small real one."""
    return facts.weights is not None and facts.weights < SMALL


def few_labels(facts: Facts) -> bool:
    """The answers are a few labels."""
    return facts.shape is not None and facts.shape.closed and facts.shape.answers <= FEW


def many_examples(facts: Facts) -> bool:
    """An epoch is long, or nobody knows how long."""
    return facts.shape is None or facts.shape.examples is None or facts.shape.examples >= MANY


def narrow(facts: Facts) -> bool:
    """The data is one question with few short answers."""
    return facts.shape is not None and facts.shape.narrow


def trains(*parts: str) -> Condition:
    """Return a condition: one of these parts is trained, and in full."""
    return lambda facts: bool(set(parts) & set(facts.train)) and not facts.has_lora


def by_lora(facts: Facts) -> bool:
    """A part is trained by LoRA."""
    return facts.has_lora


def fits(train: dict[str, Any], quantization: str | None = None) -> Condition:
    """Return a condition: the model has these parts, and training them so fits into the device's memory.

    If the user gives a quantization, that one counts.
    """
    return lambda facts: (
        all(map(facts.has, train))
        and facts.fits(train=train, quantization=facts.fields.get("quantization", quantization))
    )


def needs_quantization(facts: Facts) -> bool:
    """What is trained fits only beside a quantized language model, and is not a part of it in full."""
    return not facts.fits() and facts.fits(quantization="nf4")


def fits_with(name: str) -> Condition:
    """Return a condition: the recipe with this regulariser fits too."""
    return lambda facts: facts.fits(regularise={name: {"sources": [dict(facts.data)]} if name == "ewc" else {}})


def has_others(facts: Facts) -> bool:
    """There is other data to mix in."""
    return bool(facts.others)


def watches(facts: Facts) -> bool:
    """A task of another quadrant can be watched."""
    return bool(facts.watched)


def ranks(facts: Facts) -> bool:
    """The probe knows what is learned, and so which of several checkpoints is the best."""
    chosen = facts.fields.get("probe")
    return isinstance(chosen, Mapping) and bool(chosen.get("learn"))


def evaluates(facts: Facts) -> bool:
    """Some task's data is here."""
    return bool(facts.evaluated)


def too_little(facts: Facts) -> bool:
    """Nothing that was chosen fits into memory."""
    return not facts.fits()


def checkpointed(facts: Facts) -> bool:
    """The batch fits only with gradient checkpointing."""
    found = facts.fit()
    return found is not None and found.checkpointing


def mixed(facts: Facts) -> dict[str, Any]:
    """Return the mixture: the data, and an equal share of each other source, as many as will be drawn in all."""
    ratio = round(OTHER / len(facts.others), 3)
    examples = facts.shape.examples if facts.shape else None
    recipe = facts.recipe()
    if recipe.steps:
        drawn: int | None = ceil(ratio * recipe.steps * recipe.batch.size)
    else:
        drawn = ceil(ratio * examples * (recipe.epochs or 1) / (1 - OTHER)) if examples else None
    others = [
        {
            "data": other.data,
            "ratio": ratio,
            **({"limit": drawn} if drawn and other.examples and drawn < other.examples else {}),
        }
        for other in facts.others
    ]
    return {"sources": [dict(facts.data), *others]}


def alone(facts: Facts) -> dict[str, Any]:
    """Return the mixture of the data alone."""
    return {"sources": [dict(facts.data)]}


def reference(facts: Facts) -> list[dict[str, Any]]:
    """Return some of the other data: what the base should keep."""
    return [{"data": other.data, "limit": _SAMPLE} for other in facts.others]


def probe(facts: Facts) -> dict[str, Any]:
    """Return the probe: at least ten looks, at most one every 50 steps."""
    steps = facts.steps()
    every = 50 if steps is None else max(1, min(50, steps // _LOOKS))
    own = {"learn": facts.learned} if facts.learned else {}
    return {"tasks": [*own.values(), *facts.watched], **own, "every": every, "stop": STOP}


def saves(facts: Facts) -> dict[str, Any]:
    """Return when checkpoints are written, one of which is kept: a few times, evenly apart."""
    steps = facts.steps()
    return {"every": "epoch" if steps is None else max(1, ceil(steps / _SAVES)), "keep": "best"}


def micro(facts: Facts) -> int:
    """Return the examples at a time that fit; 1 where none do."""
    found = facts.fit()
    return found.micro if found else 1
