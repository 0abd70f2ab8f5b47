"""Fine-tuning recipes for multimodal LLMs: which parts, on which mixture, how; and what they forget on the way.

Start with `read`, which turns a YAML file and overrides into a checked `Recipe`, and `finetune`, which runs it; the
loop itself is `finetune.training.loop.Training.train`. Names load when first used, and importing this package loads no
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.model.merging import merge
    from finetune.recipes.files import read
    from finetune.recipes.schema import Recipe
    from finetune.training.run import finetune

__all__ = ["Recipe", "finetune", "merge", "read"]

_HOMES = {
    "Recipe": "finetune.recipes.schema",
    "finetune": "finetune.training.run",
    "merge": "finetune.model.merging",
    "read": "finetune.recipes.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
