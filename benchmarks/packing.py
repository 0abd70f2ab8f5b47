"""What packing saves: images a second with a micro-batch in one row, and padded to its longest example.

One LLaVA of random weights with 5 layers of width 384, trained in full in float32 on the CPU; answers are of 1 to
`--longest` words, their lengths spread evenly over the logarithm, as short answers and long ones are in instructions.

Run: python -m benchmarks.packing
Prints one JSON line: the images a second of each way, in the quietest of its runs, and the share of padding.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def build(folder: Path, rows: int, longest: int) -> Any:
    """Return the model, its processor and the batches' examples."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from finetune.data.conversations import TrainingExample, Turn
    from tests.support import tiny_checkpoints

    tiny = tiny_checkpoints.build("llava", folder / "tiny")
    model: Any = AutoModelForImageTextToText.from_pretrained(tiny)
    model.config.text_config.update({"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5,
                                     "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 64,
                                     "max_position_embeddings": 4096})  # fmt: skip
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    words = np.exp(rng.uniform(0, np.log(longest), rows)).astype(int)
    examples = [
        TrainingExample((Turn("What is it?", " ".join(["noise"] * count)),), lambda: [picture], 1, str(row))
        for row, count in enumerate(words)
    ]
    return type(model)(model.config), AutoProcessor.from_pretrained(tiny), examples


def main() -> int:
    """Measure both ways in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--longest", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    import torch

    from finetune.model.building import make_collator
    from finetune.training.loss import answer_losses

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model, processor, examples = build(Path(folder), options.rows, options.longest)
    collate, head = make_collator(model, processor), model.get_output_embeddings()
    chunks = [examples[start : start + options.micro] for start in range(0, options.rows, options.micro)]
    batches = [collate(chunk, [one.load_images() for one in chunk], [0] * len(chunk)) for chunk in chunks]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.repeats):
        for packing in seconds:
            start = time.perf_counter()
            for batch in batches:
                losses, _ = answer_losses(model, head, batch, packing=packing)
                losses.sum().backward()
                model.zero_grad()
            seconds[packing].append(time.perf_counter() - start)
    padded, packed = (options.rows / min(seconds[packing]) for packing in (False, True))
    kept = sum(int(batch.inputs["attention_mask"].sum()) for batch in batches)
    padding = 1 - kept / sum(batch.labels.numel() for batch in batches)
    figures = {"padded": round(padded, 2), "packed": round(packed, 2), "ratio": round(packed / padded, 2)}
    print(json.dumps({"figure": "images_per_second", **figures, "padding": round(padding, 3), **vars(options)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
