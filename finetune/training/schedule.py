"""The learning rate as a function of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math

from finetune.recipes.schema import Schedule


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step.

    The rate rises linearly over the warm-up and reaches its peak at the first step after it; a cosine then falls
    towards zero, which it would reach one step after the last.

    Args:
        schedule: its form, and the warm-up as a share of all steps.
        step: counted from 0.
        steps: of the whole run.
    """
    warmup = math.ceil(schedule.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule.name == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
