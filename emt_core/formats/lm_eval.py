"""Runs of lm-evaluation-harness: `results_DATE.json` with `samples_TASK_DATE.jsonl` beside it (`--log_samples`).

Where a task has several filters, each of its metrics is one for each filter, METRIC,FILTER as in the results; the first
filter's come first. Of a multiple-choice question the likeliest option is the prediction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, listed, one_line
from emt_core.files import Row, read_rows
from emt_core.formats.written import OtherTask, Sample, as_run
from emt_core.runs import Run, leaf_groups

_RESULTS = re.compile(r"results_(?P<date>\d{4}-\d\d-\d\dT.+)\.json")

_PEEK = 200
"""Rows that are read to see which metrics a task has."""

_CONFIG_LEFT_OUT = ("dataset_kwargs", "metadata")
"""Settings that hold paths, or the model's arguments: two runs may differ in them."""


def is_lm_eval(path: Path) -> bool:
    """Whether this is a results file of lm-evaluation-harness, or a folder with one in or below it."""
    return bool(_results_files(path))


def read_lm_eval(path: Path) -> Run:
    """Read a run by its results file.

    Raises:
        UserError: there are several runs, the results cannot be read, or a task has no samples.
    """
    files = _results_files(path)
    if len(files) > 1:
        shown = listed(str(file.relative_to(path)) for file in files[:5])
        raise UserError(f"{path} contains {len(files)} runs of lm-evaluation-harness ({shown}): choose one file")
    file = files[0]
    results = _read(file)
    names = [name for name in results["results"] if name in results["configs"]]
    date = _date(file)
    tasks = [_task(name, file.with_name(f"samples_{name}_{date}.jsonl"), results) for name in names]
    settings = results.get("config") or {}
    model = results.get("model_name") or (settings.get("model_args") or {}).get("pretrained") or file.parent.name
    return as_run(
        file,
        tasks,
        harness="lm-evaluation-harness",
        model=str(model),
        groups=leaf_groups(results.get("group_subtasks") or {}, names),
        date=date,
        arguments=settings.get("model_args"),
    )


def _results_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _RESULTS.fullmatch(path.name) else []
    return sorted(file for file in path.rglob("results_*.json") if _RESULTS.fullmatch(file.name))


def _date(file: Path) -> str:
    found = _RESULTS.fullmatch(file.name)
    return found["date"] if found else ""


def _read(file: Path) -> Mapping[str, Any]:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as lm-evaluation-harness's results: {one_line(error)}") from error
    if not isinstance(results, dict):
        raise UserError(f"{file}: expected an object with the results of lm-evaluation-harness")
    for name in ("results", "configs"):
        if not isinstance(results.get(name), dict):
            raise UserError(f"{file}: field {name!r}: expected an object, as lm-evaluation-harness writes it")
    return results


def _task(name: str, samples: Path, results: Mapping[str, Any]) -> OtherTask:
    if not samples.is_file():
        raise UserError(f"{samples} is missing: run lm_eval again with --log_samples")
    config = results["configs"][name]
    peek = [row for _, row in islice(read_rows(samples), _PEEK)]
    if not peek:
        raise UserError(f"{samples} holds no samples: run lm_eval again")
    filters = _names(config.get("filter_list")) or ["none"]
    better = (results.get("higher_is_better") or {}).get(name) or {}
    metrics = {_metric(metric, one, filters): better.get(metric) for one in filters for metric in _metrics(peek)}
    kept = {key: value for key, value in config.items() if key not in _CONFIG_LEFT_OUT}
    version = (results.get("versions") or {}).get(name)
    counts = (results.get("n-samples") or {}).get(name) or {}
    return OtherTask(
        name=name,
        source=samples,
        metrics=metrics,
        read=_reader(samples, filters, choice=config.get("output_type") == "multiple_choice"),
        version=None if version is None else str(version),
        config=kept | {"filter_list": filters},
        documents=counts.get("effective"),
    )


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Return the metrics that samples name, those that are numbers first."""
    names = dict.fromkeys(str(name) for row in rows for name in row.get("metrics") or ())
    return sorted(names, key=lambda name: not any(isinstance(row.get(name), int | float) for row in rows))


def _metric(name: str, filter_: str, filters: Sequence[str]) -> str:
    return name if len(filters) == 1 else f"{name},{filter_}"


def _reader(file: Path, filters: Sequence[str], *, choice: bool) -> Callable[[], Iterator[Sample]]:
    def of_filter(name: str) -> Iterator[tuple[str, Row]]:
        return (item for item in read_rows(file) if item[1].get("filter", "none") == name)

    def read() -> Iterator[Sample]:
        # The file has all rows of one filter, then all of the next, each in the same order.
        for items in zip_longest(*map(of_filter, filters)):
            where = next(place for place, _ in filter(None, items))
            rows = [row for _, row in filter(None, items)]
            documents = {row.get("doc_id") for row in rows}
            if len(rows) < len(filters) or len(documents) > 1:
                raise UserError(f"{where}: expected each document with each of the filters {listed(filters)}, once")
            if not isinstance(rows[0].get("doc_id"), int):
                raise UserError(f"{where}: field 'doc_id': expected a number, found {rows[0].get('doc_id')!r}")
            yield _sample(rows, filters, choice=choice)

    return read


def _sample(rows: Sequence[Row], filters: Sequence[str], *, choice: bool) -> Sample:
    first = rows[0]
    scores = {
        _metric(str(name), str(row.get("filter") or "none"), filters): row.get(name)
        for row in rows
        for name in row.get("metrics") or ()
    }
    asked = [one for one in (first.get("arguments") or {}).values() if isinstance(one, dict)]
    prediction, target = _answer(first), first.get("target")
    if choice:
        options = [str(one.get("arg_1", "")).strip() for one in asked]
        prediction = _likeliest(first, options)
        place = int(str(target)) if str(target).isdecimal() else -1
        target = options[place] if 0 <= place < len(options) else target
    return Sample(
        id=first["doc_id"],
        scores=scores,
        prediction=prediction,
        target=None if target is None else target if isinstance(target, str) else json.dumps(target),
        question=str(asked[0]["arg_0"]) if asked and "arg_0" in asked[0] else None,
    )


def _answer(row: Row) -> str | None:
    """Return what the model wrote, before any filter."""
    answers = row.get("resps") or row.get("filtered_resps") or ()
    first = answers[0] if answers else None
    if isinstance(first, list):
        first = first[0] if first else None
    return first if isinstance(first, str) else None


def _likeliest(row: Row, options: Sequence[str]) -> str | None:
    likelihoods = [float(one[0]) for one in row.get("filtered_resps") or () if isinstance(one, list) and one]
    if not likelihoods or len(likelihoods) != len(options):
        return None
    return options[likelihoods.index(max(likelihoods))]


def _names(filters: Any) -> list[str]:
    return [str(one["name"]) for one in filters if isinstance(one, dict) and "name" in one] if filters else []
