"""Fine-tuning recipes for multimodal LLMs: which parts, on which mixture, how; and what models forget in training.

Start with `read`, which turns a YAML file and overrides into a checked `Recipe`, and `finetune`, which runs it; the
loop itself is `finetune.training.loop.Training.train`. Names load when first used, and importing this package loads
no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emt_core.lazy import lazy

if TYPE_CHECKING:
    from finetune.data.disjoint import evaluation_sources, overlaps
    from finetune.data.llava import to_llava
    from finetune.data.sources import open_source
    from finetune.model.merging import merge
    from finetune.recipes.files import read, shipped_recipes
    from finetune.recipes.schema import Recipe, SourceEntry
    from finetune.training.dry_run import describe
    from finetune.training.run import finetune

__all__ = [
    "Recipe",
    "SourceEntry",
    "describe",
    "evaluation_sources",
    "finetune",
    "merge",
    "open_source",
    "overlaps",
    "read",
    "shipped_recipes",
    "to_llava",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Recipe": "finetune.recipes.schema",
        "SourceEntry": "finetune.recipes.schema",
        "describe": "finetune.training.dry_run",
        "evaluation_sources": "finetune.data.disjoint",
        "finetune": "finetune.training.run",
        "merge": "finetune.model.merging",
        "open_source": "finetune.data.sources",
        "overlaps": "finetune.data.disjoint",
        "read": "finetune.recipes.files",
        "shipped_recipes": "finetune.recipes.files",
        "to_llava": "finetune.data.llava",
    },
)
