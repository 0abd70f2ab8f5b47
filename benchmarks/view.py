"""How fast `emt view` is on two runs of 250,000 samples each, in a real browser; one JSON line per figure.

Run: python -m benchmarks.view                       (the runs are written to a temporary folder first: a minute or two)
     python -m benchmarks.view --folder FOLDER       (writes them to FOLDER once, and keeps them)
     python -m benchmarks.view --samples 4000

Bounds: the first page within 1 s of the browser's request, each filter within 300 ms of the key or the choice until
its samples are drawn, the server's peak memory at most 500 MiB, the making of the index included. Exits with 1 if one
is exceeded. Every answer has words of its own, and the images are photos of 500 × 375 pixels. Figures are the median of
`--repeats`; the slowest is beside it. Needs playwright and Chromium.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import report, use_photos, write_photos
from tests.support.synthetic_runs import judged_sample, write_run

TASKS = ("imagenet_vqa", "flowers102", "imagewikiqa", "ocr_vqa")
PHOTOS = 2000
_LETTERS = "abcdefghijklmnoprstuvw"
WORDS = ["".join(chance.choices(_LETTERS, k=chance.randint(3, 9))) for chance in map(random.Random, range(4000))]
TARGETS = [f"class number {index}" for index in range(1000)]

# A page's samples are drawn where the counter changes; the clock is the browser's own.
_FIRST = """() => new Promise((done) => {
  const list = document.querySelector("#samples .flips");
  const look = () => { if (list.dataset.drawn) done(performance.now()); else requestAnimationFrame(look); };
  look();
})"""
_CHANGE = """([name, value]) => new Promise((done) => {
  const list = document.querySelector("#samples .flips");
  const field = document.querySelector("#samples form").elements[name];
  const before = list.dataset.drawn;
  const started = performance.now();
  const look = () => {
    if (list.dataset.drawn === before) { requestAnimationFrame(look); return; }
    done([performance.now() - started, document.getElementById("count").textContent]);
  };
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  look();
})"""

FILTERS = (
    ("text", "itvoo"),
    ("text", "class number 77"),
    ("text", "no such words"),
    ("text", "the middle of a room"),
    ("text", ""),
    ("change", "lost"),
    ("change", "changed"),
    ("candidate", "extrinsic"),
    ("class", "class number 7"),
    ("text", "room"),
    ("class", ""),
    ("text", ""),
    ("task", "imagewikiqa"),
    ("task", ""),
)
"""What is changed, one after the other, each on top of those before."""


def samples(count: int, *, changed: float, seed: int) -> Iterator[dict[str, Any]]:
    """Yield one run's samples of a task; each answer has words of its own, most are shared by both runs."""
    chance = random.Random(seed)
    for doc in range(count):
        right, luck, other = TARGETS[doc % 1000], chance.random(), chance.choice(TARGETS)
        kind, redrawn, second = chance.choice(("incorrect", "intrinsic", "extrinsic")), chance.random(), chance.random()
        text = " ".join(chance.choices(WORDS, k=chance.randint(8, 60)))
        good = luck < 0.8 if redrawn >= changed else second < 0.6
        label = right if good else other
        same = "It stands in the middle of a room with some furniture around it."
        yield judged_sample(
            doc,
            "correct" if good else kind,
            target=right,
            text=f"This is a {label}. {text if redrawn < changed or doc % 3 == 0 else same}",
            labels={"extrinsic": (), "intrinsic": (label, right)}.get("correct" if good else kind, (label,)),
            prompt=f"{' '.join(WORDS[(doc * 7 + k * k) % 4000] for k in range(12))}? Answer with its name.",
        ) | {"row": doc % PHOTOS}


def write(folder: Path, count: int) -> None:
    """Write base and candidate, with photos."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = write_photos(folder / "photos.parquet", PHOTOS)
    for side, changed in (("base", 0.0), ("candidate", 0.05)):
        tasks = {task: samples(count // len(TASKS), changed=changed, seed=seed) for seed, task in enumerate(TASKS)}
        run = write_run(folder, tasks, name=side)
        use_photos(next(run.glob("*_results.json")), photos)


class Server:
    """`emt view` in a process of its own, with a cache of its own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-m", "emt_tasks", "view", str(folder)]
        started = time.perf_counter()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr
        line = self.process.stderr.readline()
        self.seconds = time.perf_counter() - started
        found = re.search(r"http://\S+", line)
        if not found:
            raise SystemExit(f"emt view did not start: {line}{self.process.stderr.read()}")
        self.address = found[0]

    def peak(self) -> float:
        """Return its peak resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()  # type: ignore[union-attr]


def open_page(browser: Any, address: str) -> tuple[Any, float]:
    """Open the page in a new profile; return it, and the seconds until its first samples are drawn."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(address, wait_until="commit")
    return page, page.evaluate(_FIRST) / 1000


def wait_for_index(page: Any, tasks: int) -> float:
    """Return the seconds until all tasks are there."""
    started = time.perf_counter()
    while page.locator("#tasks tbody tr").count() < tasks or page.locator("#tasks .open li").count():
        time.sleep(0.05)
    return time.perf_counter() - started


def measure(folder: Path, cache: Path, count: int, repeats: int) -> list[bool]:
    """Measure first without an index, then with it."""
    from playwright.sync_api import sync_playwright

    context: dict[str, object] = {
        "samples": count,
        "runs": 2,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    kept = []
    with sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        cold = Server(folder, cache)
        page, first = open_page(browser, cold.address)
        index = wait_for_index(page, len(TASKS))
        kept.append(report("view, first index, until its first samples", first, "s", 60.0, **context))
        kept.append(report("view, first index, all of it", first + index, "s", 120.0, **context))
        times = drive(page, repeats)
        kept.append(report("view, peak memory, with the first index", cold.peak(), "MiB", 500.0, **context))
        cold.stop()
        page.close()
        warm = Server(folder, cache)
        firsts = []
        for _ in range(repeats):
            page, first = open_page(browser, warm.address)
            firsts.append(first)
            page.close()
        page, _ = open_page(browser, warm.address)
        times = drive(page, repeats)
        each = {"slowest": round(max(firsts), 3), **context}
        kept.append(report("view, first page", median(firsts), "s", 1.0, **each))
        for (name, value), found in times.items():
            spent = [seconds for seconds, _ in found]
            each = {"slowest": round(max(spent)), "found": found[0][1], **context}
            kept.append(report(f"view, filter {name}={value!r}", median(spent), "ms", 300.0, **each))
        kept.append(report("view, peak memory, index made before", warm.peak(), "MiB", 500.0, **context))
        warm.stop()
        browser.close()
    return kept


def drive(page: Any, repeats: int) -> dict[tuple[str, str], list[tuple[float, str]]]:
    """Use each filter, several times; return the milliseconds until its samples are drawn, and what is counted."""
    times: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for number in range(repeats):
        for name, value in FILTERS:
            # Other words each time: the server remembers the last filters.
            wanted = value + " " * number if name == "text" and value else value
            spent, text = page.evaluate(_CHANGE, [name, wanted])
            times.setdefault((name, value), []).append((spent, text))
    return times


def main() -> int:
    """Measure and print; the exit code says whether every figure is within its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=250_000, help="samples in each of the two runs")
    parser.add_argument("--folder", type=Path, help="where the runs are, or are written to and kept")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary, "runs")
        if not folder.is_dir():
            write(folder, arguments.samples)
        kept = measure(folder, Path(temporary, "cache"), arguments.samples, arguments.repeats)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
