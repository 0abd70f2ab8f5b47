"""Fine-tuning beside TRL's SFTTrainer: images per second and peak memory, on the same model, data and batches.

The trainers take turns, each in its own processes, on the same tiny LLaVA with a vocabulary of 32,000 words: float32,
the same number of threads, full fine-tuning with AdamW, identical prompts and answers, loss on the answers only, no
gradient checkpointing in either. Speed is measured after the first two steps; memory is the peak resident set of the
process, with all its imports, and the same minus what was there before the first step.

TRL runs twice: with its defaults, and with the loss of transformers' own Trainer over all logits (`trl_all_logits`).
Its default head works in tiles; on a CPU it scores every token, on a GPU only the answers' tokens, as ours always
does. These figures say nothing about a GPU.

Run: python -m benchmarks.finetune            (needs trl: pip install trl)
Prints one JSON line per figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

VOCABULARY = 32_000
PROMPT = "What is the number in the image? Please describe what you see, step by step, and then give the number."
WARM_UP = 2


def build(folder: Path, rows: int, words: int) -> None:
    """Write the model, and the data as a LLaVA-style file: scikit-learn's digits, and answers of a few words."""
    import torch
    from PIL import Image
    from sklearn.datasets import load_digits
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from tests.support import tiny_checkpoints

    checkpoint = tiny_checkpoints.build("llava", folder / "model")
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    model.resize_token_embeddings(VOCABULARY)
    model.save_pretrained(checkpoint)
    AutoProcessor.from_pretrained(checkpoint).save_pretrained(checkpoint)
    digits = load_digits()
    entries = []
    for row in range(rows):
        image = Image.fromarray((digits.images[row] * 15.9).astype("uint8")).convert("RGB").resize((64, 64))
        image.save(folder / f"{row}.png")
        answer = " ".join(f"I see {digits.target[row]}." for _ in range(words // 3))
        turns = [{"from": "human", "value": f"<image>\n{PROMPT}"}, {"from": "gpt", "value": answer}]
        entries.append({"image": f"{row}.png", "conversations": turns})
    (folder / "data.json").write_text(json.dumps(entries))


def ours(folder: Path, batch: int, steps: int) -> None:
    """Train with this project."""
    from finetune.recipes.schema import Recipe
    from finetune.training import loop
    from finetune.training.run import finetune

    recipe = Recipe.model_validate(
        {
            "model": str(folder / "model"),
            "train": "full",
            "mixture": {"sources": [{"data": str(folder / "data.json")}]},
            "optimiser": {"learning_rate": 1e-4},
            "batch": {"size": batch, "micro": batch},
            "steps": steps,
            "precision": "fp32",
            "save": {"every": "end"},
            "output": str(folder / "ours"),
        }
    )
    clock, tokens = Clock(batch), []  # type: ignore[var-annotated]
    take = loop.Training._step

    def timed(self: Any, step: int, batches: Any) -> Any:
        clock.begin()
        result = take(self, step, batches)
        clock.end()
        tokens.append(result.tokens)
        return result

    loop.Training._step = timed  # type: ignore[method-assign]
    finetune(recipe)
    clock.report(sum(tokens))


def trl(folder: Path, batch: int, steps: int, all_logits: bool = False) -> None:
    """Train with TRL's SFTTrainer, its dataset in the prompt-completion form that learns completions only."""
    import torch
    from datasets import Dataset, Features, Image, Value
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    entries = json.loads((folder / "data.json").read_text())
    text = [{"role": Value("string"), "content": Value("string")}]
    rows = [
        {
            "prompt": [{"role": "user", "content": PROMPT}],
            "completion": [{"role": "assistant", "content": entry["conversations"][1]["value"]}],
            "image": str(folder / entry["image"]),
        }
        for entry in entries
    ]
    data = Dataset.from_list(rows, features=Features({"prompt": text, "completion": text, "image": Image()}))
    clock = Clock(batch)

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.end()

    class AllLogits(SFTTrainer):  # type: ignore[misc]
        compute_loss = Trainer.compute_loss

    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=1e-4,
        lr_scheduler_type="cosine",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=None,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
    )
    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder / "model")
    trainer = (AllLogits if all_logits else SFTTrainer)(
        model=model, args=settings, train_dataset=data, processing_class=processor, callbacks=[Timer()]
    )
    trainer.train()
    counted = [line["num_tokens"] for line in trainer.state.log_history if "num_tokens" in line]
    clock.report(max(counted, default=None))


class Clock:
    """Times whole steps, from the end of one to the end of the next, and reads the memory."""

    def __init__(self, batch: int) -> None:
        self._batch, self._before, self._peak = batch, 0.0, 0.0
        self._ends: list[float] = []

    def begin(self) -> None:
        """Record the memory before the first step."""
        self._before = self._before or _resident()

    def end(self) -> None:
        """Record the end of a step, and the memory so far: what comes after the last step does not count."""
        self._ends.append(time.perf_counter())
        self._peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def report(self, tokens: float | None) -> None:
        """Print what was measured, with the number of tokens read, if counted."""
        measured = {
            "images_per_second": (len(self._ends) - WARM_UP) * self._batch / (self._ends[-1] - self._ends[WARM_UP - 1]),
            "peak_mib": self._peak,
            "step_mib": self._peak - self._before,
            "tokens": tokens,
        }
        print("MEASURED " + json.dumps(measured), flush=True)


def _resident() -> float:
    """Return the resident set of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


TRAINERS = {"ours": ours, "trl": trl, "trl_all_logits": partial(trl, all_logits=True)}


def measure(trainer: str, arguments: list[str], threads: int) -> dict[str, float]:
    """Run one trainer in its own process and return what it measured."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        # as a module from the root: run as a script, this file would shadow the package finetune
        [sys.executable, "-m", "benchmarks.finetune", "--trainer", trainer, *arguments],
        env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if not lines:
        sys.exit(f"{trainer} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[0].removeprefix("MEASURED ")))


def main() -> int:
    """Run the comparison, or one trainer of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--words", type=int, default=60, help="words per answer")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trainer", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trainer:
        TRAINERS[options.trainer](options.folder, options.batch, options.steps)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder, options.batch * options.steps, options.words)
        given = ["--folder", str(folder), "--batch", str(options.batch), "--steps", str(options.steps)]
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in TRAINERS}
        for _ in range(options.repeats):  # in turn, so that a busy machine slows all
            for trainer, found in runs.items():
                shutil.rmtree(folder / "ours", ignore_errors=True)
                found.append(measure(trainer, given, options.threads))
    settings = {"batch": options.batch, "words": options.words, "steps": options.steps, "threads": options.threads}
    # Ours ends each answer with the end-of-text token, and learns it: at most one more token per answer.
    more = runs["ours"][0]["tokens"] - runs["trl"][0]["tokens"]
    if not 0 <= more <= options.batch * options.steps:
        sys.exit(f"not the same work: ours read {more:+.0f} tokens more")
    for figure in ("images_per_second", "peak_mib", "step_mib"):
        medians = {name: round(statistics.median(run[figure] for run in found), 2) for name, found in runs.items()}
        ratios = {f"ratio_to_{name}": round(medians["ours"] / medians[name], 3) for name in TRAINERS if name != "ours"}
        print(json.dumps({"figure": figure, **medians, **ratios, **settings}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
