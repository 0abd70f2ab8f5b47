"""Write run folders in lmms-eval 0.7's own format, without a model: for tests and for benchmarks.

Run: python -m tests.support.synthetic_runs runs/base runs/candidate --samples 10000
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emt_tasks.tasks import registry

STAMP = "20260101_120000"
CATEGORIES = ("correct", "incorrect", "intrinsic", "extrinsic", "unscored")
METRICS = ("accuracy", "incorrect", "intrinsic", "extrinsic", "unscored")


def judged_sample(
    doc_id: int,
    category: str,
    *,
    target: str = "cat",
    text: str = "a cat",
    labels: Sequence[str] = ("cat",),
    prompt: str = "What is in the image?",
    cluster: str | None = None,
    judge: str = "fuzzy",
    judge_target: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one sample as our own tasks log it."""
    unscored = category == "unscored"
    metrics = {name: None if unscored else float(name == category) for name in METRICS}
    metrics["accuracy"] = None if unscored else float(category == "correct")
    metrics["unscored"] = float(unscored)
    sample = {
        "doc_id": doc_id,
        "target": target,
        "filtered_resps": text,
        "token_counts": [{"output_tokens": len(text) // 4}],
        "doc_hash": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
        **metrics,
        "verdict": {
            "category": category,
            "matches": [{"label": label, "start": 0, "end": 0, "text": label, "how": "name"} for label in labels],
            "judge": judge,
            "confidence": 1.0,
            "reason": "Written by tests/support/synthetic_runs.py; no model answered and no judge judged this.",
        },
        "judge_target": judge_target or {"kind": "classification", "vocabulary": "cifar10", "label": 3},
    }
    if cluster is not None:
        sample["cluster"] = cluster
    return {**sample, "input": prompt}


def write_run(
    folder: Path,
    tasks: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    stamp: str = STAMP,
    name: str = "model",
    groups: Mapping[str, Sequence[str]] | None = None,
    model_args: str | None = None,
    **overrides: Mapping[str, Any],
) -> Path:
    """Write a results file and the tasks' samples below `folder`/`name`; returns that folder.

    `model_args` are by default `pretrained=NAME`.
    `overrides` replaces parts of a task's entry in the results file: `emt_mnist={"version": 2, "config": {...}}`.
    """
    run = folder / name
    run.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"results": {}, "group_subtasks": dict(groups or {})}
    keys = ("configs", "versions", "n-shot", "higher_is_better", "n-samples")
    results.update({key: {} for key in keys})
    for task, samples in tasks.items():
        wanted = dict(overrides.get(task, {}))
        count = _write_samples(run / f"{stamp}_samples_{task}.jsonl", samples)
        metrics, filters = wanted.get("metrics", METRICS), wanted.get("filters", ("none",))
        scores = {f"{metric},{name}": 0.5 for name in filters for metric in metrics}
        results["results"][task] = {"alias": task, **scores, "samples": count, "accuracy_stderr,none": "N/A"}
        results["configs"][task] = {
            "task": task,
            "dataset_path": f"/somewhere/{task}",
            "doc_to_text": "What is in the image?",
            "output_type": "generate_until",
            "generation_kwargs": {"max_new_tokens": 64, "until": []},
            "num_fewshot": 0,
            "process_results": "<function score at 0x7f0123456789>",
            "metadata": {"version": 1.0, "quadrant": _quadrant(task)},
        } | dict(wanted.get("config", {}))
        results["versions"][task] = wanted.get("version", 1.0)
        results["n-shot"][task] = 0
        results["higher_is_better"][task] = {
            metric: metric not in METRICS or metric == "accuracy" for metric in metrics
        }
        results["n-samples"][task] = {"original": count, "effective": count} | dict(wanted.get("counts", {}))
    results["config"] = {
        "model": "emt_vlm",
        "model_args": model_args or f"pretrained={name}",
        "limit": None,
        "offset": 0,
    }
    results |= {"lmms_eval_version": "0.7.3", "date": stamp, "model_name": name, "model_name_sanitized": name}
    (run / f"{stamp}_results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    return run


def write_counts(folder: Path, right: Mapping[str, int], documents: int) -> str:
    """Write a run that is right on so many of each task's documents; returns its folder."""
    rows = {
        task: [judged_sample(doc, "correct" if doc < count else "incorrect") for doc in range(documents)]
        for task, count in right.items()
    }
    return str(write_run(folder, rows, name="m").parent)


def _quadrant(task: str) -> str | None:
    """What a task of ours says of itself; None for a task that is not ours."""
    entry = registry.entries().get(task)
    return entry.quadrant if entry else None


def _write_samples(path: Path, samples: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")
            count += 1
    return count


def large_pair(base: Path, candidate: Path, *, samples: int, tasks: Sequence[str], seed: int = 0) -> tuple[Path, Path]:
    """Write two runs of so many samples in all: 1,000 classes, two documents an image, one answer in twenty changed."""
    for index, folder in enumerate((base, candidate)):
        write_run(
            folder,
            {
                task: _large_task(samples // len(tasks), changed=0.05 * index, seed=seed + number)
                for number, task in enumerate(tasks)
            },
            name=folder.name,
        )
    return base / base.name, candidate / candidate.name


def _large_task(count: int, *, changed: float, seed: int) -> Iterable[dict[str, Any]]:
    generator = random.Random(seed)
    names = [f"class number {index}" for index in range(1000)]
    for doc_id in range(count):
        right = names[doc_id // 2 % 1000]
        luck, other, kind = generator.random(), generator.choice(names), generator.choice(CATEGORIES[1:4])
        redrawn, second = generator.random(), generator.random()
        good = luck < 0.8 if redrawn >= changed else second < 0.6
        category = "correct" if good else kind
        label = right if category == "correct" else other
        yield judged_sample(
            doc_id,
            category,
            target=right,
            text=f"This is a photo of a {label}, in the middle of a room with some furniture around it.",
            labels={"extrinsic": (), "intrinsic": (label, right)}.get(category, (label,)),
            prompt="What is the object in the image? Answer with its name and nothing else.",
            cluster=f"image {doc_id // 2}",
        )


def main() -> None:
    """Write two runs to compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--tasks", default="imagenet_vqa,flowers102,imagewikiqa,ocr_vqa")
    arguments = parser.parse_args()
    for run in large_pair(
        arguments.base, arguments.candidate, samples=arguments.samples, tasks=arguments.tasks.split(",")
    ):
        print(run)


if __name__ == "__main__":
    main()
