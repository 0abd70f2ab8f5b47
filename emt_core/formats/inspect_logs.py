"""Logs of inspect_ai, `.eval` or JSON, read by its own reader: a log is a task, a folder of them a run.

A scorer that returns several values is one metric for each, SCORER.VALUE. A grade of `C`, `P`, `I` or `N` is 1, 0.5, 0
and 0, as inspect_ai has it. Where each sample was asked several times (epochs), its answers are documents of one
cluster, since they are not independent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, listed, one_line
from emt_core.formats.written import OtherTask, Sample, as_run
from emt_core.runs import Run

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

INSTALL = "pip install 'emt-eval[inspect]'"

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What inspect_ai's `value_to_float` makes of text. It takes any other text for 0, with a warning; here that is an
error, since a text that is no grade is not a wrong answer."""

HIGHER = {"accuracy"}
"""Means that are better when higher by what they are; of any other, inspect_ai does not say."""


def is_inspect(path: Path) -> bool:
    """Whether this is a log of inspect_ai, or a folder with one in it."""
    return bool(_logs(path))


def read_inspect(path: Path) -> Run:
    """Read a log, or all logs of one model in a folder, as a run.

    Raises:
        UserError: inspect_ai is not installed, or a log cannot be read, did not finish or is not the only one of its
            task.
    """
    files = _logs(path)
    headers = {file: _header(file) for file in files}
    models = sorted({header.eval.model for header in headers.values()})
    if len(models) > 1:
        raise UserError(f"{path} contains logs of {len(models)} models ({listed(models[:5])}): choose one's logs")
    tasks: dict[str, OtherTask] = {}
    for file, header in headers.items():
        name = _name(header)
        if name in tasks:
            raise UserError(
                f"{path} contains two logs of {name}, {tasks[name].source.name} and {file.name}: choose one"
            )
        tasks[name] = _task(file, name, header)
    first = next(iter(headers.values()))
    return as_run(path, tasks.values(), harness="inspect_ai", model=models[0], date=first.eval.created)


def _logs(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".eval" or _is_json_log(path) else []
    found = [file for ending in ("*.eval", "*.json") for file in path.glob(ending)]
    return sorted(file for file in found if file.suffix == ".eval" or _is_json_log(file))


def _is_json_log(file: Path) -> bool:
    """Whether this is JSON that begins as inspect_ai's logs do: version, status and eval; it is not read whole."""
    if file.suffix != ".json":
        return False
    with file.open("rb") as content:
        start = content.read(200)
    return b'"version"' in start and b'"status"' in start and b'"eval"' in start


def _header(file: Path) -> EvalLog:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        raise UserError(f"{file} is a log of inspect_ai, which is not installed: {INSTALL}") from error
    try:
        header = read_eval_log(str(file), header_only=True)
    except Exception as error:
        raise UserError(f"{file}: inspect_ai cannot read this log: {one_line(error)}") from error
    if header.status != "success":
        raise UserError(f"{file}: the evaluation did not finish (status {header.status}): run inspect eval-retry")
    if header.results is None or not header.results.scores:
        raise UserError(f"{file}: the log has no scores: run inspect score")
    return header


def _name(header: EvalLog) -> str:
    return str(header.eval.task).rpartition("/")[2]


def _task(file: Path, name: str, header: EvalLog) -> OtherTask:
    metrics: dict[str, bool | None] = {}
    assert header.results is not None
    for score in header.results.scores:
        metric = score.scorer if score.name == score.scorer else f"{score.scorer}.{score.name}"
        better = not HIGHER.isdisjoint(one.rpartition("/")[2] for one in score.metrics)
        metrics[metric] = metrics.get(metric) or (True if better else None)
    asked = header.eval.config
    epochs = asked.epochs or 1
    config: dict[str, Any] = {
        "dataset_path": header.eval.dataset.name,
        "generation_kwargs": _decoding(header),
        "lmms_eval_specific_kwargs": header.eval.task_args or None,
        "repeats": epochs,
        "process_results": sorted(metrics),
    }
    read = _reader(file, tuple(metrics), repeated=epochs > 1)
    return OtherTask(name, file, metrics, read, str(header.eval.task_version), config)


def _decoding(header: EvalLog) -> dict[str, Any]:
    """Return how answers were generated; how the server was asked does not count."""
    named = ("temperature", "top_p", "top_k", "max_tokens", "seed", "stop_seqs", "system_message", "reasoning_effort")
    settings = header.eval.model_generate_config
    return {name: value for name in named if (value := getattr(settings, name, None)) is not None}


def _reader(file: Path, metrics: tuple[str, ...], *, repeated: bool) -> Callable[[], Iterator[Sample]]:
    def read() -> Iterator[Sample]:
        from inspect_ai.log import read_eval_log_samples

        for sample in read_eval_log_samples(str(file), all_samples_required=False):
            name = f"{sample.id}#{sample.epoch}" if repeated else sample.id
            values = _values(sample, f"{file}: sample {sample.id}")
            yield Sample(
                id=name,
                scores={metric: values.get(metric) for metric in metrics},
                prediction=sample.output.completion if sample.output else None,
                target=sample.target if isinstance(sample.target, str) else json.dumps(sample.target),
                question=_question(sample),
                cluster=str(sample.id) if repeated else None,
                choices=tuple(sample.choices or ()),
            )

    return read


def _values(sample: EvalSample, where: str) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for scorer, score in (sample.scores or {}).items():
        if isinstance(score.value, Mapping):
            values |= {
                f"{scorer}.{name}": _number(value, f"{where}: {scorer}.{name}") for name, value in score.value.items()
            }
        else:
            values[scorer] = _number(score.value, f"{where}: {scorer}")
    return values


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        found = float(value)
    elif isinstance(value, str) and (value in GRADES or value.lower() in GRADES):
        found = GRADES.get(value, GRADES.get(value.lower(), 0.0))
    else:
        try:
            found = float(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{where} is {str(value)[:60]!r}, expected a number or one of {listed(GRADES)}") from error
    return found if isfinite(found) else None


def _question(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    return "\n\n".join(message.text for message in sample.input)
