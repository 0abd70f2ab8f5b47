"""How long the gate and the report take on large runs, and their memory and disk use; one JSON line per figure.

Run: python -m benchmarks.report            (two runs of 1,000,000 samples each, written to a temporary folder first)
     python -m benchmarks.report --samples 10000 --report-samples 10000

Bounds: the gate over 2 × 1,000,000 samples in ≤ 15 s and ≤ 2 GiB, a report over 2 × 50,000 samples with images in
≤ 10 s and ≤ 15 MB, `emt gate --help` and `emt report --help` in ≤ 0.5 s. Exits with 1 if one is exceeded. Each
figure is the best of `--repeats`, since load makes a program slower, never faster; `cpu_seconds`, over all cores,
depend less on the load than the wall clock.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.synthetic_runs import large_pair

TASKS = ("imagenet_vqa", "flowers102", "imagewikiqa", "ocr_vqa")
EMT = (sys.executable, "-m", "emt_tasks")


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
    """Print one figure as a JSON line; return whether it is within its bound."""
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


def measure_report(folder: Path, samples: int, repeats: int) -> list[bool]:
    """Time the report, with photo-sized images of the flipped samples in a parquet file."""
    runs = large_pair(folder / "base", folder / "candidate", samples=samples, tasks=TASKS)
    photos = write_photos(folder / "photos.parquet", samples // len(TASKS))
    for run in runs:
        use_photos(next(run.glob("*_results.json")), photos)
    page = folder / "report.html"
    command = [*EMT, "report", *map(str, runs), "-o", str(page), "--overwrite"]
    best = [min(values) for values in zip(*(measure(command) for _ in range(repeats)), strict=True)]
    help_time = min(measure([*EMT, "report", "--help"])[0] for _ in range(max(repeats, 3)))
    context = {"samples": samples, "runs": 2, "images": page.read_text("utf-8").count("data:image/")}
    return [
        report(
            "report, wall clock", best[0], "s", 10.0, cpu_seconds=round(best[2], 1), cores=os.cpu_count(), **context
        ),
        report("report, size", page.stat().st_size / 1e6, "MB", 15.0, **context),
        report("emt report --help, wall clock", help_time, "s", 0.5),
    ]


def write_photos(path: Path, rows: int) -> Path:
    """Write `rows` different JPEGs of 500 × 375 pixels; smooth noise takes as many bytes as a photo."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    images = []
    for _ in range(50):
        channels = [Image.effect_noise((63, 47), 90).resize((500, 375), Image.Resampling.BICUBIC) for _ in range(3)]
        buffer = io.BytesIO()
        Image.merge("RGB", channels).save(buffer, "JPEG")
        images.append(buffer.getvalue())
    # Bytes after a JPEG's end are not read: they make each row a different image at no cost.
    values = [{"bytes": images[row % 50] + row.to_bytes(4, "big"), "path": None} for row in range(rows)]
    pq.write_table(pa.table({"image": pa.array(values)}), path, row_group_size=1000, compression="none")
    return path


def use_photos(file: Path, photos: Path) -> None:
    """Record these photos as the images of a run's documents."""
    results = json.loads(file.read_text("utf-8"))
    for config in results["configs"].values():
        config |= {
            "dataset_path": "parquet",
            "dataset_kwargs": {"data_files": {"test": str(photos)}},
            "test_split": "test",
        }
    file.write_text(json.dumps(results), "utf-8")


def main() -> int:
    """Measure and print; the exit code says whether every figure is within its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples in each of the gate's two runs")
    parser.add_argument("--report-samples", type=int, default=50_000, help="samples in each of the report's two runs")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = measure_report(Path(folder, "report"), arguments.report_samples, arguments.repeats)
        kept += measure_gate(Path(folder, "gate"), arguments.samples, arguments.repeats)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
