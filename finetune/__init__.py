"""Fine-tuning recipes for multimodal LLMs: which parts, on which mixture, how; and what they forget on the way.

Start with `read`, which turns a YAML file and overrides into a checked `Recipe`, and `finetune`, which runs it; the
loop itself is `finetune.loop.Run.train`. Importing this package loads no torch, and it never imports lmms-eval but in
`finetune.evaluation`, when a recipe evaluates.
"""

from finetune.finetuning import finetune
from finetune.recipe import Recipe
from finetune.recipe_file import read

__all__ = ["Recipe", "finetune", "read"]
