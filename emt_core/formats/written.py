"""A run of another harness as a `Run`: its samples are written as lmms-eval logs them, task by task, when asked for.

Everything downstream reads samples from a file, a few columns at a time, so that memory stays bounded; what is written
here lies in a temporary folder, and goes when the process ends.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_core.files import Row, dump_row, replacing
from emt_core.public_names import public_name
from emt_core.runs import Run, Task

_LARGEST = 2**52
"""Document numbers below are identifiers that are numbers; hashes of other identifiers lie between this and 2⁵³, up to
which JavaScript counts exactly."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored document, as any harness logs it.

    `id` names the document; `scores` are its metrics by name, None where unscored. `group` is the category that the
    task's report is broken down by; documents of one `cluster`, such as questions about one image, are not independent.
    `choices` are the options of a multiple-choice question, whose `target` is then a letter.
    """

    id: int | str
    scores: Mapping[str, float | None]
    prediction: str | None = None
    target: str | None = None
    question: str | None = None
    group: str | None = None
    cluster: str | None = None
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OtherTask:
    """One task of another harness's run; `read` yields its samples, `source` is the file that they come from.

    `metrics` maps each metric to whether higher is better, None where nobody says. `config` is what must be alike in
    two runs, by lmms-eval's names; `groups` are the groups of tasks that it belongs to.
    """

    name: str
    source: Path
    metrics: Mapping[str, bool | None]
    read: Callable[[], Iterable[Sample]]
    version: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    documents: int | None = None


def as_run(
    path: Path,
    tasks: Iterable[OtherTask],
    *,
    harness: str,
    model: str,
    groups: Mapping[str, tuple[str, ...]] | None = None,
    date: str | None = None,
    arguments: str | None = None,
) -> Run:
    """Return the run at `path`, written by `harness`, of `model`.

    Raises:
        UserError: it has no task.
    """
    numbers = count()
    found = {task.name: _task(task, next(numbers)) for task in tasks}
    if not found:
        raise UserError(f"{path}: this run of {harness} has no scored samples")
    results = {
        "config": {"model": harness, "model_args": arguments},
        "date": date,
        "model_name": model,
        "results": {name: {f"{metric},none": None for metric in task.metrics} for name, task in found.items()},
    }
    return Run(path=path, name=public_name(model), tasks=found, groups=groups or {}, results=results)


def document_number(name: int | str) -> int:
    """Return the number that a document goes by: its own if it has one, else one made of its name by SHA-256."""
    text = str(name)
    if len(text) < 20 and text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < _LARGEST:
        return int(text)
    return (
        _LARGEST + int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % _LARGEST
    )


def sample_row(sample: Sample) -> Row:
    """Return a sample as lmms-eval logs it."""
    row: Row = {
        "doc_id": document_number(sample.id),
        "document": str(sample.id),
        "input": sample.question,
        "target": sample.target,
        "filtered_resps": sample.prediction,
        **sample.scores,
    }
    optional = {"group": sample.group, "cluster": sample.cluster}
    row |= {name: value for name, value in optional.items() if value is not None}
    if sample.prediction is not None and sample.target is not None and not _is_list(sample.target):
        kind = "multiple_choice" if sample.choices else "short_answer"
        row["judge_target"] = {"kind": kind, "label": sample.target, "choices": list(sample.choices) or None}
    return row


def write_as_lmms_eval(run: Run, judged: Mapping[str, bool]) -> Path:
    """Write a run as lmms-eval would, into a folder that goes when the process ends; returns the folder.

    `judged` are the metrics that a judge will add, with whether higher is better; they come before the run's own.

    Raises:
        UserError: a task's name is no file's name.
    """
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    for task in run.tasks.values():
        if "/" in task.name:
            raise UserError(f"{task.shown}: task {task.name!r}: expected a name without '/', which a file can have")
        shutil.copyfile(task.samples, folder / f"converted_samples_{task.name}.jsonl")
    tasks = run.tasks.values()
    results = dict(run.results) | {
        "results": {task.name: {f"{name},none": None for name in (*judged, *task.metrics)} for task in tasks},
        "configs": {task.name: dict(task.config) for task in tasks},
        "versions": {task.name: task.version for task in tasks},
        "higher_is_better": {task.name: {**judged, **task.higher_is_better} for task in tasks},
        "n-samples": {task.name: {"original": task.original, "effective": task.effective} for task in tasks},
        "group_subtasks": {name: list(members) for name, members in run.groups.items()},
    }
    (folder / "converted_results.json").write_text(json.dumps(results, indent=2, default=str), encoding="utf-8")
    return folder


def _is_list(target: str) -> bool:
    """Whether a target is several references, as JSON: no judge here takes those."""
    try:
        return target.startswith("[") and isinstance(json.loads(target), list)
    except ValueError:
        return False


def _task(task: OtherTask, number: int) -> Task:
    def write(file: Path) -> None:
        with replacing([file]) as (partial,), partial.open("wb") as lines:
            lines.writelines(dump_row(sample_row(sample)) for sample in task.read())

    return Task(
        name=task.name,
        file=_folder() / f"{next(_numbers)}_{number}.jsonl",
        version=task.version,
        config=task.config,
        metrics=tuple(task.metrics),
        filters=("none",),
        higher_is_better=task.metrics,
        original=task.documents,
        effective=task.documents,
        source=task.source,
        write=write,
    )


_numbers: Iterator[int] = count()


@cache
def _folder() -> Path:
    """Return this process's folder of written samples."""
    folder = Path(tempfile.mkdtemp(prefix="emt-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
