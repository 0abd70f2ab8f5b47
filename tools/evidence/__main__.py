"""Put the papers' claims and remedies to the small model, and write both pages; hours on a CPU, and resumable.

    python -m tools.evidence WORK --data DIR --large DIR [--seeds N] [--only remedies]

`--data` has test images of cifar10 and mnist, imagenet1k's validation and imagewikiqa's test images, as $EMT_DATA_DIR
would; `--large` training images of cifar10 and mnist. `--page` only writes the pages, of what is done. What fails is
said, and the rest goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from emt_core.errors import UserError
from leaderboards.report.text import with_bounds
from tools import make_small_vlm
from tools.evidence import data, encoder, page, remedies, runs
from tools.evidence.results import BASE, ENCODER, Model, Results

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main(argv: list[str] | None = None) -> int:
    """Run what is not done, then write the pages; return 2 if something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="keeps models and runs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--large", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2, help="of each fine-tuning: 0, 1, …")
    parser.add_argument("--jobs", type=int, default=1, help="fine-tunings at a time, which share the cores")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the pages go")
    parser.add_argument("--only", choices=[remedies.GROUP], help="only the runs of these, and their page")
    parser.add_argument("--page", action="store_true", help="run nothing")
    options = parser.parse_args(argv)
    work, settings = options.work.resolve(), runs.read()
    if options.only:
        settings = runs.only(settings, options.only)
    folder = work / "evidence" / "runs"
    os.environ |= {"EMT_DATA_DIR": str(data.sets(work)), "EMT_INCLUDE": str(data.tasks(work))}
    failed = [] if options.page else _run(work, folder, settings, options)
    results = Results(folder, options.seeds, settings["images"])
    if not options.only:
        report(results, settings, folder, options.docs / page.REPORT)
        for name, found in page.write(results, settings, options.seeds, options.docs).items():
            print(f"{name}\t{found.verdict}\t{settings['claims'][name]['title']}")
    for way in remedies.write(results, settings, options.seeds, options.docs):
        print(f"{way.shown}\t{with_bounds(way.learned)} learned\t{with_bounds(way.forgotten)} forgotten")
    for error in failed:
        print(f"error: {error}", file=sys.stderr)
    return 2 if failed else 0


def report(results: Results, settings: Mapping[str, Any], folder: Path, out: Path) -> None:
    """Write the whole report on the matrix, of each fine-tuning's first seed; without samples: the data is others'."""
    group = settings["runs"]["matrix"]
    models = [Model(name) for name in group["each"] if results.there(Model(name))]
    if not models or not results.there(Model(BASE)):
        return
    named = [f"{model.name}={results.runs(model)[0]}" for model in models]
    about = [
        "--tasks",
        ",".join(group["tasks"]),
        "--matrix",
        str(runs.matrix(settings, folder)),
        "--finetuned-on",
        group["tasks"][0],
    ]
    base = str(results.runs(Model(BASE))[0])
    runs.emt(["report", base, *named, *about, "--flips", "0", "-o", str(out), "--overwrite"], folder / "report.log")


def _run(work: Path, folder: Path, settings: Mapping[str, Any], options: argparse.Namespace) -> list[str]:
    """Run what is not done; return what failed."""
    model, failed = work / "small-vlm", list[str]()
    if not model.is_dir():
        make_small_vlm.main(
            [str(model), "--data", str(options.data), "--large", str(options.large), "--work", str(work)]
        )
    data.prepare(work, options.data, options.large)
    runs.evaluate(model, runs.base_tasks(settings), folder / BASE, folder / f"{BASE}.log")
    if not options.only:
        encoder.measure(model, [data.sets(work), data.tasks(work)], folder / f"{ENCODER}.json")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    with ThreadPoolExecutor(options.jobs) as pool:
        todo = [pool.submit(_run_one, experiment, model, folder, settings)
                for experiment in runs.experiments(settings, work, options.seeds)]  # fmt: skip
        try:
            for done in tqdm(as_completed(todo), total=len(todo), desc="Fine-tunings"):
                if error := done.result():
                    failed.append(error)
                    tqdm.write(f"error: {error}", file=sys.stderr)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # when it is stopped, only what runs goes on
    if not options.only:
        runs.diagnose(model, folder, settings)
    return failed


def _run_one(experiment: runs.Experiment, model: Path, folder: Path, settings: Mapping[str, Any]) -> str | None:
    """Run a fine-tuning, and rescue it if it is the one to be rescued; return why it failed."""
    group = settings["runs"][remedies.GROUP]
    try:
        runs.run(experiment, model, folder)
        if experiment.name == group["rescued"]["candidate"]:
            matrix = runs.matrix(settings, folder)
            runs.rescue(group["rescued"], group["tasks"], model, folder, experiment.seed, matrix)
    except UserError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
