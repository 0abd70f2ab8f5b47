"""What scoring many labels costs, beside one pass of the prompt, and beside a pass for each label.

One LLaVA of random weights with 5 layers of width 384, in float32 on the CPU; its vocabulary of 4,000 makes the head as
small a part of it as of a large model. The prompt has 576 image tokens, 30 of text and, as EMT's do, the labels unless
`--unlisted`. Labels are ImageNet's names (or the first of them) in pieces of at most four letters.

Run: python -m benchmarks.closed_set
Prints one JSON line for each number of labels: seconds, in the quietest of the runs; the ratios; and the peak of the
memory that the model takes with the prompt's pass, or with all labels, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_IMAGE_TOKENS, _TEXT_TOKENS, _WORDS = 576, 30, 4_000
_ALONE = 12
"""How many labels are scored by a pass each; the rest are taken to cost the same."""


def build(listed: list[tuple[int, ...]]) -> tuple[Any, dict[str, Any]]:
    """Return the model and one prompt's inputs, with these labels in it."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    text = {"model_type": "llama", "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5,
            "num_attention_heads": 6, "num_key_value_heads": 6, "vocab_size": _WORDS,
            "max_position_embeddings": 8192}  # fmt: skip
    vision = {"model_type": "clip_vision_model", "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6,
              "num_attention_heads": 3, "image_size": 336, "patch_size": 14}  # fmt: skip
    model: Any = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=vision, image_token_id=1))
    text_tokens = [*range(100, 100 + _TEXT_TOKENS), *(token for label in listed for token in (99, *label))]
    ids = torch.tensor([[1] * _IMAGE_TOKENS + text_tokens])
    pixels = torch.randn(1, 3, 336, 336)
    return model.eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def labels(count: int) -> list[tuple[int, ...]]:
    """Return ImageNet's names as tokens: a number for each piece."""
    from emt_tasks.datasets import vocabularies

    known: dict[str, int] = {}
    names = [label.name for label in vocabularies.load("imagenet1k").labels][:count]
    pieces = [re.findall(r" ?\S{1,4}", name) for name in names]
    return [tuple(known.setdefault(piece, 1000 + len(known)) for piece in name) for name in pieces]


def work(count: int, listed: bool) -> dict[str, Callable[[], object]]:
    """Return what is measured."""
    from emt_tasks.models.likelihood import Scorer
    from emt_tasks.models.trie import run_prompts

    names = labels(count)
    model, inputs = build(names if listed else [])
    scorer = Scorer(model, 8, 0)
    scorer.way = "tree"
    return {
        "prompt": lambda: run_prompts(model, inputs, keeps_logits=True),
        "labels": lambda: scorer.score(inputs, [names]),
        "alone": lambda: [scorer.score_rows(inputs, [name]) for name in names[:_ALONE]],
    }


def peak(count: int, what: str, listed: bool) -> float:
    """Return the MiB by which a model and one call raise this process's peak memory."""
    import torch

    import emt_tasks.models.likelihood  # noqa: F401 - what it imports is no part of the measurement

    torch.ones(8, 8) @ torch.ones(8, 8)
    before = _highest()
    with torch.no_grad():
        work(count, listed)[what]()
    return (_highest() - before) / 2**10


def _highest() -> int:
    """Return this program's peak memory in KiB; `ru_maxrss` would begin with that of the process that started it."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[0])


def main() -> int:
    """Measure each number of labels."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--unlisted", action="store_true", help="the prompt does not list the labels")
    parser.add_argument("--peak", help="only this one's peak memory, in MiB")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(options.labels[0], options.peak, not options.unlisted))
        return 0
    for count in options.labels:
        calls = work(count, not options.unlisted)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        with torch.no_grad():
            for _ in range(options.repeats):
                for name, call in calls.items():
                    start = time.perf_counter()
                    call()
                    seconds[name].append(time.perf_counter() - start)
        best = {name: min(taken) for name, taken in seconds.items()}
        alone = best.pop("alone") / _ALONE * count
        memory = {name: _peak(count, name, options) for name in best}
        figures = {
            "labels": count,
            "listed": not options.unlisted,
            **{f"{name}_s": round(taken, 4) for name, taken in best.items()},
            "times_the_prompt": round(best["labels"] / best["prompt"], 2),
            "a_pass_per_label_is_slower": round(alone / best["labels"], 1),
            **{f"{name}_mib": round(mib) for name, mib in memory.items()},
            "memory_ratio": round(memory["labels"] / memory["prompt"], 2),
        }
        print(json.dumps(figures), flush=True)
    return 0


def _peak(count: int, what: str, options: argparse.Namespace) -> float:
    arguments = ["--peak", what, "--labels", str(count), "--threads", str(options.threads)]
    command = [sys.executable, "-m", "benchmarks.closed_set", *arguments, *["--unlisted"] * options.unlisted]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
