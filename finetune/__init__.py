"""Fine-tuning recipes for multimodal LLMs: which parts, on which mixture, how; and what they forget on the way.

Start with `read`, which turns a YAML file and overrides into a checked `Recipe`, and `finetune`, which runs it; the
loop itself is `finetune.training.loop.Run.train`. Importing this package loads no torch.
"""

from finetune.recipes.files import read
from finetune.recipes.schema import Recipe
from finetune.training.run import finetune

__all__ = ["Recipe", "finetune", "read"]
