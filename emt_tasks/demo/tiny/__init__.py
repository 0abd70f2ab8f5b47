"""A vision-language model of 0.6 million parameters, the demo's base: the checkpoint at `PATH`.

It knows the demo's shapes and answers questions about its digits, but names only five of them when asked what it sees.

LLaVA's architecture, trained from random weights by `tools/train_tiny.py` on the train splits of `emt_tasks.demo`.
`emt_vlm` and the recipes know it as `emt:tiny`; plain transformers load it from the folder.
"""

from pathlib import Path

__all__ = ["PATH"]

PATH = Path(__file__).parent
"""The checkpoint's folder."""
