"""How long the gate takes over large runs, and how much memory; one JSON line a figure.

Run: python benchmarks/report.py            (two runs of 1,000,000 samples each, written to a temporary folder first)
     python benchmarks/report.py --samples 10000

Bounds: the gate over 2 × 1,000,000 samples in ≤ 15 s and ≤ 2 GiB, `emt gate --help` in ≤ 0.5 s. Exits 1 where one is
exceeded. Each figure is the best of `--repeats`, since a loaded machine makes a program slower, never faster;
`cpu_seconds`, over all cores, depends on the load less than the wall clock does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.synthetic_runs import large_pair

TASKS = ("imagenet_vqa", "flowers102", "imagewikiqa", "ocr_vqa")
EMT = (sys.executable, "-m", "emt_tasks.cli")


def measure(command: Sequence[str], *, expected: Sequence[int] = (0,)) -> tuple[float, float, float]:
    """Run a command; return its wall-clock seconds, its peak resident memory in GiB and its CPU seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in expected:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return seconds, usage.ru_maxrss / 2**20, usage.ru_utime + usage.ru_stime  # Linux counts memory in KiB


def report(figure: str, value: float, unit: str, bound: float, **context: object) -> bool:
    """Print one figure as a JSON line; returns whether it keeps its bound."""
    kept = value <= bound
    print(json.dumps({"figure": figure, "value": round(value, 3), "unit": unit, "bound": bound, "ok": kept, **context}))
    return kept


def measure_gate(folder: Path, samples: int, repeats: int) -> list[bool]:
    """Time the gate, and its help."""
    runs = large_pair(folder / "base", folder / "candidate", samples=samples, tasks=TASKS)
    size = sum(path.stat().st_size for run in runs for path in run.glob("*.jsonl"))
    command = [*EMT, "gate", *map(str, runs)]
    best = [min(values) for values in zip(*(measure(command, expected=(0, 1, 2)) for _ in range(repeats)), strict=True)]
    help_time = min(measure([*EMT, "gate", "--help"])[0] for _ in range(max(repeats, 3)))
    context = {"samples": samples, "runs": 2, "gigabytes": round(size / 1e9, 3), "cores": os.cpu_count()}
    return [
        report("gate, wall clock", best[0], "s", 15.0, cpu_seconds=round(best[2], 1), **context),
        report("gate, peak memory", best[1], "GiB", 2.0, **context),
        report("emt gate --help, wall clock", help_time, "s", 0.5),
    ]


def main() -> int:
    """Measure, print, and say by the exit code whether every bound is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples in each of the two runs")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = measure_gate(Path(folder), arguments.samples, arguments.repeats)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
