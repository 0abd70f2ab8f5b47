"""Put the papers' claims to the small model, and write docs/evidence.md; hours on a CPU, and resumable.

    python -m tools.evidence WORK --data DIR --large DIR [--seeds N]

`--data` has test images of cifar10 and mnist, imagenet1k's validation and imagewikiqa's test images, as $EMT_DATA_DIR
would; `--large` training images of cifar10 and mnist. `--page` only writes the page, of what is done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from tools import make_small_vlm
from tools.evidence import data, encoder, page, runs
from tools.evidence.results import BASE, ENCODER, Model, Results

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main(argv: list[str] | None = None) -> int:
    """Run what is not done, then write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="keeps models and runs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--large", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2, help="of each fine-tuning: 0, 1, …")
    parser.add_argument("--jobs", type=int, default=1, help="fine-tunings at a time, which share the cores")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    parser.add_argument("--page", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    work, settings = options.work.resolve(), runs.read()
    folder = work / "evidence" / "runs"
    os.environ |= {"EMT_DATA_DIR": str(data.sets(work)), "EMT_INCLUDE": str(data.tasks(work))}
    if not options.page:
        _run(work, folder, settings, options)
    results = Results(folder, options.seeds, settings["images"])
    report(results, settings, folder, options.docs / page.REPORT)
    for name, found in page.write(results, settings, options.seeds, options.docs).items():
        print(f"{name}\t{found.verdict}\t{settings['claims'][name]['title']}")
    return 0


def report(results: Results, settings: Mapping[str, Any], folder: Path, out: Path) -> None:
    """Write the whole report on the matrix, of each fine-tuning's first seed; without samples: the data is others'."""
    group = settings["runs"]["matrix"]
    models = [Model(name) for name in group["each"] if results.there(Model(name))]
    if not models or not results.there(Model(BASE)):
        return
    matrix = folder / "matrix.yaml"
    matrix.write_text(yaml.safe_dump(settings["matrix"]), encoding="utf-8")
    named = [f"{model.name}={results.runs(model)[0]}" for model in models]
    about = ["--tasks", ",".join(group["tasks"]), "--matrix", str(matrix), "--finetuned-on", group["tasks"][0]]
    base = str(results.runs(Model(BASE))[0])
    runs.emt(["report", base, *named, *about, "--flips", "0", "-o", str(out), "--overwrite"], folder / "report.log")


def _run(work: Path, folder: Path, settings: Mapping[str, Any], options: argparse.Namespace) -> None:
    model = work / "small-vlm"
    if not model.is_dir():
        make_small_vlm.main(
            [str(model), "--data", str(options.data), "--large", str(options.large), "--work", str(work)]
        )
    data.prepare(work, options.data, options.large)
    runs.evaluate(model, runs.base_tasks(settings), folder / BASE, folder / f"{BASE}.log")
    encoder.measure(model, [data.sets(work), data.tasks(work)], folder / f"{ENCODER}.json")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    with ThreadPoolExecutor(options.jobs) as pool:
        todo = [pool.submit(runs.run, experiment, model, folder)
                for experiment in runs.experiments(settings, work, options.seeds)]  # fmt: skip
        try:
            for done in tqdm(as_completed(todo), total=len(todo), desc="Fine-tunings"):
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after a failure, only what runs goes on
    runs.diagnose(model, folder, settings)


if __name__ == "__main__":
    sys.exit(main())
