"""What a frozen vision tower costs: seconds a step with the feature cache, without it, and without any tower.

One LLaVA of random weights whose CLIP tower is half of a step's work, its projector trained, in float32 on the
CPU. Each way of training runs in a process of its own, in turn, and takes the same steps over the same images:

- `off`: the tower runs for every image of every epoch;
- `first`: the first epoch with an empty cache, which computes and stores;
- `later`: the epochs after it, which read;
- `none`: the tower's output is that of the first batch, whatever the images: what is left of a step.

Run: python -m benchmarks.frozen_tower
Prints one JSON line: the median seconds of a step in each way, in the quietest of its runs, and their ratios.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("off", "auto", "none")


def build(folder: Path, rows: int) -> None:
    """Write the model, and images of noise with a question each."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from tests.support import tiny_checkpoints

    tiny = tiny_checkpoints.build("llava", folder / "tiny")
    processor = AutoProcessor.from_pretrained(tiny)
    model: Any = AutoModelForImageTextToText.from_pretrained(tiny)
    config = model.config
    config.vision_config.update({"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 17,
                                 "num_attention_heads": 6, "image_size": 224, "patch_size": 16})  # fmt: skip
    config.text_config.update({"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5,
                               "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 64})  # fmt: skip
    torch.manual_seed(0)
    type(model)(config).save_pretrained(folder / "model")
    processor.image_processor.size = {"shortest_edge": 224}
    processor.image_processor.crop_size = {"height": 224, "width": 224}
    processor.patch_size = 16
    processor.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    entries = []
    for row in range(rows):
        Image.fromarray(rng.integers(0, 255, (224, 224, 3), dtype=np.uint8)).save(folder / f"{row}.png")
        entries.append({"image": f"{row}.png", "question": "What is it?", "answer": f"Noise, number {row}."})
    (folder / "data.json").write_text(json.dumps(entries))


def train(folder: Path, way: str, batch: int, rows: int, epochs: int) -> None:
    """Train in one way, and print the seconds of each step."""
    from emt_tasks.models.parts import vision_tower
    from finetune.recipes.schema import Recipe
    from finetune.training import loop
    from finetune.training.run import finetune

    recipe = Recipe.model_validate(
        {
            "model": str(folder / "model"),
            "train": "projector",
            "mixture": {"sources": [{"data": str(folder / "data.json")}]},
            "optimiser": {"learning_rate": 1e-4},
            "batch": {"size": batch, "micro": batch},
            "epochs": epochs,
            "precision": "fp32",
            "save": {"every": "end"},
            "cache": {"features": "auto" if way == "auto" else "off", "folder": str(folder / "features")},
            "output": str(folder / f"run-{way}-{time.time_ns()}"),
        }
    )
    ends: list[float] = []
    take = loop.Training._step

    def timed(self: Any, step: int, batches: Any) -> Any:
        if way == "none" and not step:
            _without(vision_tower(self.model))
        result = take(self, step, batches)
        ends.append(time.perf_counter())
        return result

    loop.Training._step = timed  # type: ignore[method-assign]
    finetune(recipe)
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    print("MEASURED " + json.dumps(seconds), flush=True)


def _without(tower: Any) -> None:
    """Let a tower give what it gave first."""
    forward, known = tower.forward, {}

    def instead(*arguments: Any, **settings: Any) -> Any:
        if "output" not in known:
            known["output"] = forward(*arguments, **settings)
        return known["output"]

    tower.forward = instead


def main() -> int:
    """Run all ways in turn, or one of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        train(options.folder, options.way, options.batch, options.rows, options.epochs)
        return 0
    steps = options.rows // options.batch
    seconds: dict[str, list[float]] = {"off": [], "first": [], "later": [], "none": []}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            build(folder, options.rows)
            for way in WAYS:
                found = _measured(way, folder, options)
                parts = {"first": found[1 : steps - 1], "later": found[steps:]} if way == "auto" else {way: found[1:]}
                for name, part in parts.items():
                    seconds[name].append(statistics.median(part))
    medians = {name: round(min(values), 4) for name, values in seconds.items()}
    ratios = {
        "tower_share": round(1 - medians["none"] / medians["off"], 3),
        "first_to_off": round(medians["first"] / medians["off"], 3),
        "later_to_none": round(medians["later"] / medians["none"], 3),
        "later_to_off": round(medians["later"] / medians["off"], 3),
    }
    shown = {"batch": options.batch, "rows": options.rows, "epochs": options.epochs, "threads": options.threads}
    print(json.dumps({"figure": "seconds_per_step", **medians, **ratios, **shown}), flush=True)
    return 0


def _measured(way: str, folder: Path, options: argparse.Namespace) -> list[float]:
    """Return the seconds of each step but the first, of one way in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    given = [f"--{name}={getattr(options, name)}" for name in ("batch", "rows", "epochs")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.frozen_tower", f"--way={way}", f"--folder={folder}", *given],
        env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if not lines:
        sys.exit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return list(json.loads(lines[0].removeprefix("MEASURED ")))


if __name__ == "__main__":
    sys.exit(main())
