"""Runs of EvalScope: `reviews/MODEL/BENCHMARK_SUBSET.jsonl`; a benchmark is a task, its subsets are its groups.

The report of a benchmark says which metrics are better when higher; the settings, which version it has and how answers
were generated. Where each sample was asked several times, its answers are documents of one cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, one_line
from emt_core.files import Row, read_rows, read_yaml
from emt_core.formats.written import OtherTask, Sample, as_run
from emt_core.runs import Run

_PEEK = 200
"""Rows that are read to see which metrics a benchmark has."""

_DIRECTIONS = {"higher_is_better": True, "lower_is_better": False}

_NOT_DECODING = ("batch_size", "timeout", "stream", "retries", "retry_interval")
"""Settings of generation that say how a model was asked, and not for what."""


def is_evalscope(path: Path) -> bool:
    """Whether this is an output folder of EvalScope, or one in whose folders there is one."""
    return bool(_folders(path))


def read_evalscope(path: Path) -> Run:
    """Read a model's reviews as a run.

    Raises:
        UserError: there are several runs or models, or a file cannot be read.
    """
    folders = _folders(path)
    if len(folders) > 1:
        raise UserError(
            f"{path} contains reviews of {len(folders)} models or runs of EvalScope: choose one, such as {folders[-1]}"
        )
    folder = folders[0]
    root = folder.parent.parent
    reports = {str(one.get("dataset_name")): one for one in map(_report, sorted(_reports(root, folder.name)))}
    settings = _settings(root)
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        names = [name for name in (*reports, *settings.get("datasets", ())) if file.stem.startswith(f"{name}_")]
        files.setdefault(max(names, key=len, default=file.stem), []).append(file)
    tasks = [_task(name, found, reports.get(name) or {}, settings) for name, found in files.items()]
    model = settings.get("model_id") or folder.name
    return as_run(folder, tasks, harness="evalscope", model=str(model))


def _folders(path: Path) -> list[Path]:
    """Return the folders with a model's reviews."""
    if not path.is_dir():
        return []
    if path.parent.name == "reviews":
        return [path] if any(path.glob("*.jsonl")) else []
    return sorted({file.parent for file in path.rglob("reviews/*/*.jsonl")})


def _reports(root: Path, model: str) -> Iterator[Path]:
    return (root / "reports" / model).glob("*.json")


def _report(file: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as EvalScope's report: {one_line(error)}") from error
    if not isinstance(report, dict):
        raise UserError(f"{file}: expected an object, as EvalScope writes its reports")
    return report


def _settings(root: Path) -> Mapping[str, Any]:
    file = max((root / "configs").glob("task_config*.yaml"), default=None)
    if file is None:
        return {}
    import yaml

    # EvalScope writes Python's tuples and the like, which the safe loader refuses.
    settings = read_yaml(file, yaml.BaseLoader)
    return settings if isinstance(settings, dict) else {}


def _task(name: str, files: Sequence[Path], report: Mapping[str, Any], settings: Mapping[str, Any]) -> OtherTask:
    peek = [_score(row, where) for file in files for where, row in islice(read_rows(file), _PEEK)]
    names = dict.fromkeys(str(metric) for one in peek for metric in one.get("value") or ())
    main = next((one.get("main_score_name") for one in peek if one.get("main_score_name") in names), None)
    better = dict(_directions(report))
    metrics = {metric: better.get(metric) for metric in sorted(names, key=lambda one: one != main)}
    identity = ((settings.get("evaluation_identity") or {}).get("benchmarks") or {}).get(name) or {}
    decoding = {
        key: value for key, value in (settings.get("generation_config") or {}).items() if key not in _NOT_DECODING
    }
    arguments = (settings.get("dataset_args") or {}).get(name) or {}
    return OtherTask(
        name=name,
        source=files[0] if len(files) == 1 else files[0].parent,
        metrics=metrics,
        read=_reader(name, files),
        version=identity.get("evaluation_version"),
        config={
            "dataset_path": name,
            "generation_kwargs": decoding or None,
            "repeats": settings.get("repeats"),
            "num_fewshot": arguments.get("few_shot_num"),
            "lmms_eval_specific_kwargs": arguments.get("prompt_template"),
        },
    )


def _directions(report: Mapping[str, Any]) -> Iterator[tuple[str, bool | None]]:
    for metric in report.get("metrics") or ():
        name = (metric.get("identity") or {}).get("name") or metric.get("name")
        yield str(name), _DIRECTIONS.get(str((metric.get("semantics") or {}).get("direction")))


def _score(row: Row, where: str) -> Mapping[str, Any]:
    score = (row.get("sample_score") or {}).get("score") if isinstance(row.get("sample_score"), dict) else None
    if not isinstance(score, dict):
        raise UserError(f"{where}: field 'sample_score': expected a score, as EvalScope's reviews have it")
    return score


def _reader(name: str, files: Sequence[Path]) -> Callable[[], Iterator[Sample]]:
    def read() -> Iterator[Sample]:
        for file in files:
            subset = file.stem.removeprefix(name).removeprefix("_")
            for where, row in read_rows(file):
                yield _sample(row, where, subset)

    return read


def _sample(row: Row, where: str, subset: str) -> Sample:
    score, asked = _score(row, where), row["sample_score"]
    if row.get("index") is None:
        raise UserError(f"{where}: field 'index': expected the sample's number, found nothing")
    group = asked.get("group_id")
    target = row.get("target")
    if isinstance(target, list):
        target = target[0] if len(target) == 1 else json.dumps(target, ensure_ascii=False)
    usable = score.get("status") in (None, "success", "fallback")
    return Sample(
        id=f"{subset}/{row['index']}" if subset else row["index"],
        scores=dict(score.get("value") or {}) if usable else {},
        prediction=score.get("prediction"),
        target=target or None,
        question=_question(row),
        group=subset or None,
        cluster=None if group is None else f"{subset}/{group}",
    )


def _question(row: Row) -> str | None:
    if isinstance(row.get("input"), str):
        return str(row["input"])
    asked = [one.get("content") for one in row.get("messages") or () if one.get("role") in ("system", "user")]
    parts = [part for one in asked for part in (one if isinstance(one, list) else [{"type": "text", "text": one}])]
    texts = [str(part.get("text") or f"[{part.get('type')}]") for part in parts if isinstance(part, dict)]
    return "\n\n".join(texts) or None
