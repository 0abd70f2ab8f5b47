"""What each way of holding a model near its base keeps, and what it costs: the demo's model, several seeds.

Every way trains by the demo's high-rate recipe, for the same steps. Learned: points gained on the new task.
Forgotten: points lost in the mean of the three other quadrants. Both with the 95 % interval of their mean over seeds
(Student's t). Cost: seconds and peak memory of training, beside those of none.

Run: python -m tools.remedies OUT [--seeds 5]; about a minute a way and seed. Started again it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

OTHERS = [{"data": name, "limit": 100} for name in ("demo_shapes", "demo_digits_qa", "demo_shapes_qa")]
WAYS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "kl": {"regularise.kl": {"weight": 1.0, "sources": OTHERS}},
    "lwf": {"regularise.kl": {"weight": 1.0}},
    "l2_sp": {"regularise.l2_sp": {"weight": 0.01}},
    "ewc": {"regularise.ewc": {"weight": 100.0, "sources": OTHERS}},
    "projection": {"regularise.projection": {"share": 0.5}},
    "dft": {"regularise.loss": "dft"},
    "asft": {"regularise.loss": "dft", "regularise.kl": {"weight": 0.1}},
    "replay": {"mixture.sources": [{"data": "demo_digits"}, *({**one, "ratio": 0.1} for one in OTHERS)]},
}
NEW, KEPT = "demo_digits", ("demo_shapes", "demo_digits_qa", "demo_shapes_qa")
HEADER = "| way | new task, % | learned, points | forgotten, points | seconds | memory, GB |"


def train(way: str, seed: int, folder: Path) -> dict[str, float]:
    """Train in a process of its own, evaluate, and return accuracies in percent, seconds and bytes; once."""
    file = folder / f"{way}-{seed}.json"
    if not file.is_file():
        command = [sys.executable, "-m", "tools.remedies", str(folder), "--one", way, str(seed)]
        with (folder / f"{way}-{seed}.log").open("w", encoding="utf-8") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def one(way: str, seed: int, folder: Path) -> None:
    """Train and evaluate, or only evaluate the base, and write what was found."""
    import resource
    import time

    from emt_tasks.demo import tiny
    from emt_tasks.tasks.evaluator import EvaluationSettings, evaluate
    from finetune.recipes.files import read
    from finetune.training.run import finetune

    started, model = time.perf_counter(), tiny.PATH
    if way != "base":
        overrides = [f"{key}={json.dumps(value)}" for key, value in WAYS[way].items()]
        output = folder / "models" / f"{way}-{seed}"
        overrides += [f"output={output}", f"seed={seed}", "evaluate.tasks=[]", "save.every=end"]
        model = finetune(read("demo/full_high", overrides), overwrite=output.is_dir())
    found = {"seconds": time.perf_counter() - started}
    found["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    tasks = (NEW, *KEPT)
    results = evaluate(
        EvaluationSettings(str(model), tasks, batch_size=100), folder / "runs" / f"{way}-{seed}", overwrite=True
    )
    found |= {task: 100 * results["results"][task]["accuracy,none"] for task in tasks}
    (folder / f"{way}-{seed}.json").write_text(json.dumps(found), encoding="utf-8")


def row(way: str, runs: Sequence[dict[str, float]], base: dict[str, float]) -> str:
    """Return a row of the table."""
    learned = [run[NEW] - base[NEW] for run in runs]
    forgotten = [fmean(base[task] - run[task] for task in KEPT) for run in runs]
    cells = [
        way,
        f"{fmean(run[NEW] for run in runs):.1f}",
        _mean(learned),
        _mean(forgotten),
        f"{fmean(run['seconds'] for run in runs):.0f}",
        f"{fmean(run['bytes'] for run in runs) / 1e9:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.1f} ± {half:.1f}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="keeps models, runs and figures")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, 2, …")
    parser.add_argument("--ways", default=",".join(WAYS), help="which, separated by commas")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    os.environ |= {"TQDM_DISABLE": "1", "TQDM_LEAVE": ""}
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.one:
        one(options.one[0], int(options.one[1]), options.folder)
        return 0
    base = train("base", 0, options.folder)
    print(HEADER, "|---" * (HEADER.count("|") - 1) + "|", sep="\n", flush=True)
    for way in options.ways.split(","):
        runs = [train(way, seed, options.folder) for seed in range(options.seeds)]
        print(row(way, runs, base), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
