"""What one check of three adapters saves against three checks: seconds, and whether the verdicts are the same.

Three LoRA adapters of the demo's model are trained by `emt finetune`: at a high and a low rate, and on mixed data. They
are then checked in three ways, each by the real command, on the demo's tasks:

- `together`: `emt check --base emt:tiny --candidate A1 A2 A3`;
- `apart`: a check for each, as if there were no other;
- `reused`: a check for each, the second and third with `--base` the first one's run.

Seconds are of the clock, and of the processor over all processes: the latter hold on a machine that others use too.

Run: python -m benchmarks.several_candidates [--folder FOLDER] [--threads 1]
Prints one JSON line a way, and one with the ratios; exits 1 if a verdict or a drop differs. What is in FOLDER is used
again: so `--ways` can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from emt_core.runs import read_run
from emt_tasks.commands.demo import MARGIN, MATRIX, TASKS
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.decide import decide
from leaderboards.gate.policy import Policy

WAYS = ("together", "apart", "reused")

DIGITS = "{data: demo_digits}"
MIXED = ", ".join(
    f"{{data: {task}, ratio: {ratio}}}"
    for task, ratio in (
        ("demo_digits", 0.5),
        ("demo_shapes", 0.25),
        ("demo_digits_qa", 0.125),
        ("demo_shapes_qa", 0.125),
    )
)
ADAPTERS = {"high": (2e-2, DIGITS), "low": (2e-4, DIGITS), "hybrid": (2e-3, MIXED)}
"""Adapter: its learning rate, and the data."""

RECIPE = """\
model: emt:tiny
train: {{llm: {{lora: {{rank: 8, alpha: 16, dropout: 0.0}}}}}}
mixture: {{sources: [{sources}]}}
optimiser: {{learning_rate: {rate}}}
schedule: {{name: cosine, warmup: 0.03}}
batch: {{size: 32, micro: 32}}
steps: 66
precision: fp32
save: {{every: 66}}
output: {output}
"""


def train(folder: Path, environment: dict[str, str]) -> dict[str, Path]:
    """Return each adapter's folder, trained unless it is there."""
    adapters = {}
    for name, (rate, sources) in ADAPTERS.items():
        output = folder / name
        if not list(output.glob("checkpoint-*/adapter_config.json")):
            folder.mkdir(parents=True, exist_ok=True)
            recipe = folder / f"{name}.yaml"
            recipe.write_text(RECIPE.format(rate=rate, sources=sources, output=output))
            subprocess.run([sys.executable, "-m", "emt_tasks", "finetune", recipe], env=environment, check=True)
        (adapters[name],) = (path.parent for path in output.glob("checkpoint-*/adapter_config.json"))
    return adapters


def commands(way: str, adapters: dict[str, Path], folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the output folder and the arguments of each check of a way."""
    if way == "together":
        named = [f"{name}={path}" for name, path in adapters.items()]
        yield folder, ["--base", "emt:tiny", "--candidate", *named]
        return
    first = next(iter(adapters))
    for name, path in adapters.items():
        base = "emt:tiny" if way == "apart" or name == first else str(folder / first / "base")
        yield folder / name, ["--base", base, "--candidate", str(path)]


def check(output: Path, arguments: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Carry out one check; return what it takes, or took, in seconds of the clock and of the processor."""
    record = output / "took.json"
    if record.is_file():
        seconds, cpu_seconds = json.loads(record.read_text())
        return seconds, cpu_seconds
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "emt_tasks", "check", *arguments, "--tasks", TASKS, "--matrix", str(MATRIX)]
    command += ["--margin", str(MARGIN), "-b", "50", "--device", "cpu", "-o", str(output)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not (output / "report.html").is_file():
        sys.exit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    (output / "check.txt").write_text(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}\n")
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record.write_text(json.dumps([seconds, cpu_seconds]))
    return seconds, cpu_seconds


def outcomes(way: str, adapters: dict[str, Path], folder: Path) -> dict[str, dict[str, tuple[str, float]]]:
    """Return what the gate says on the runs that a way has left, by adapter and unit."""
    found = {}
    for name in adapters:
        if way == "together":
            base, (candidate,) = folder / "base", (folder / "candidates").glob(f"{name}-*")
        else:
            base = folder / (name if way == "apart" else next(iter(adapters))) / "base"
            candidate = folder / name / "candidate"
        result = decide(compare(read_run(base), read_run(candidate), matrix=read_matrix(MATRIX)), Policy(margin=MARGIN))
        found[name] = {"overall": (result.outcome, 0.0)} | {
            unit.name: (unit.outcome, round(unit.drop.estimate or 0.0, 2)) for unit in result.units
        }
    return found


def main() -> int:
    """Train, check in every way, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep adapters and checks here, and use those that are there")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        adapters = train(folder / "adapters", environment)
        measured = {way: _measured(way, adapters, folder / way, environment) for way in options.ways}
        found = {way: outcomes(way, adapters, folder / way) for way in options.ways}
    for way, took in measured.items():
        verdicts = {name: units["overall"][0] for name, units in found[way].items()}
        print(json.dumps({"way": way, **took, **verdicts}), flush=True)
    one = measured.pop("together", None)
    ratios = {
        f"{way}_to_together_{figure}": round(took[figure] / one[figure], 2)
        for way, took in measured.items()
        for figure in ("seconds", "cpu_seconds")
        if one
    }
    same = all(units == found[options.ways[0]] for units in found.values())
    print(json.dumps({"figure": "several_candidates", **ratios, "same": same, "threads": options.threads}), flush=True)
    return int(not same)


def _measured(way: str, adapters: dict[str, Path], folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Return the seconds that the checks of a way take."""
    took = [check(output, arguments, environment) for output, arguments in commands(way, adapters, folder)]
    seconds, cpu_seconds = (round(sum(figures), 1) for figures in zip(*took, strict=True))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


if __name__ == "__main__":
    sys.exit(main())
