"""Models for lmms-eval. `vlm` has `EmtVLM`: any Hugging Face image-text-to-text checkpoint, with or without adapter.

lmms-eval finds them through `emt_tasks.plugin`. Importing this package loads nothing: its modules import torch.
"""

__all__: list[str] = []
