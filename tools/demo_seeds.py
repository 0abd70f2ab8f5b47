"""Run the demo with several seeds, and print what each recipe learned and kept, and what the gate said of it.

The seed is the order of the training examples; the base, which has none, is evaluated once.

Run: python -m tools.demo_seeds OUT (see --help), or make demo-seeds; about as long as `emt demo` for each seed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from emt_tasks.commands.demo import tell_story
from emt_tasks.commands.demo_words import FINETUNED_ON, Ending

TASKS = (FINETUNED_ON, "demo_shapes", "demo_digits_qa", "demo_shapes_qa")
HEADER = f"| seed | recipe | {' | '.join(TASKS)} | gate |"


def run(folder: Path, seeds: Iterable[int], *, overwrite: bool = False) -> Iterator[tuple[int, list[Ending]]]:
    """Yield each seed with the outcome of each recipe; their runs and reports go to a folder each."""
    console, base = Console(stderr=True, highlight=False), None
    for seed in seeds:
        output = folder / str(seed)
        yield seed, tell_story(output, seed=seed, base=base, overwrite=overwrite, console=console)
        base = base or output / "base"


def row(seed: int, ending: Ending) -> str:
    """Return a row of the table: percent right before and after on each task, and the gate's outcome."""
    scores = {task.task: task.scores for task in ending.result.comparison.tasks}
    shown = [
        f"{found.base.estimate:.1f} → {found.candidate.estimate:.1f}" if (found := scores.get(task)) else "-"
        for task in TASKS
    ]
    return f"| {seed} | {ending.name} | {' | '.join(shown)} | {ending.result.outcome} |"


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Run the demo with several seeds and print a table.")
    parser.add_argument("folder", type=Path, help="where runs, checkpoints and reports go, a folder for each seed")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, 2, …")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier demos there")
    options = parser.parse_args(argv)
    os.environ |= {"TQDM_DISABLE": "1", "TQDM_LEAVE": ""}
    print(HEADER, "|---" * (HEADER.count("|") - 1) + "|", sep="\n", flush=True)
    for seed, endings in run(options.folder, range(options.seeds), overwrite=options.overwrite):
        for ending in endings:
            print(row(seed, ending), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
