"""Prediction and result files of VLMEvalKit, `MODEL_DATASET.xlsx` (TSV, JSON) and `MODEL_DATASET_*_result.xlsx` beside.

A data set is a task: its documents are scored in a result file, the column of whose scores depends on the kind of data
set, and a prediction file that has none is a task without scores, whose answers `emt judge` can judge. Questions with
one `image_path` are not independent: they are one cluster.
"""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_core.files import Row
from emt_core.formats import tables
from emt_core.formats.written import OtherTask, Sample, as_run
from emt_core.runs import Run

SCORES = ("hit", "eval_match", "verifier_match", "score", "correct", "match")
"""What VLMEvalKit calls a row's score; higher is better in each of them. The first that a file has counts."""

_MATCHES = "eval_match"
"""A row's match with each reference answer; `eval_score` is their mean, which is not what all data sets count."""

_NEAREST = ("DocVQA", "InfoVQA")
"""Data sets whose matches are edit distances: the score is ANLS, 1 − the least, or 0 where that is below a half."""

_BEST = ("ChartQA", "OCRVQA")
"""Data sets that count the best match; all others count the mean. As VLMEvalKit's `hit_calculate` has it."""

_ENDINGS = (".xlsx", ".tsv", ".json")

_SUFFIX = re.compile(r"_(?:(?:exact_matching|[^_]+)_)?(?:result|results|detailed_results|auxmatch|score)")
"""What VLMEvalKit puts after a prediction file's name, for a result file that lies alone."""


_NUMPY = re.compile(r"np\.\w+\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class _File:
    """A table with predictions; `score` is its column of scores, None for a plain prediction file."""

    path: Path
    score: str | None
    grouped: str | None


def is_vlmevalkit(path: Path) -> bool:
    """Whether this is a prediction or result file, or a folder with one in it or in one of its folders."""
    return any(_looked_at(file) is not None for file in _candidates(path))


def read_vlmevalkit(path: Path) -> Run:
    """Read the files of one evaluation of one model, or one file.

    Raises:
        UserError: there are several evaluations, or several result files of a data set.
    """
    files = [found for file in _candidates(path) if (found := _looked_at(file)) is not None]
    folders = sorted({file.path.parent for file in files})
    if len(folders) > 1:
        raise UserError(f"{path} contains {len(folders)} evaluations of VLMEvalKit: choose one, such as {folders[-1]}")
    model = _model(folders[0], [file.path.stem for file in files])
    predictions = {file.path.stem: file for file in files if file.score is None}
    chosen: dict[str, _File] = {}
    for file in files:
        stem = file.path.stem
        if file.score is not None:
            own = [one for one in predictions if stem.startswith(f"{one}_")]
            stem = max(own, key=len) if own else _SUFFIX.sub("", stem)
        other = chosen.get(stem)
        if other is not None and other.score is not None and file.score is not None:
            raise UserError(
                f"{folders[0]} contains two results of {stem}, {other.path.name} and {file.path.name}: choose one file"
            )
        if other is None or file.score is not None:
            chosen[stem] = file
    alone = tables.TASK if path.is_file() else None
    tasks = [_task(_dataset(stem, model) or alone or stem, file) for stem, file in chosen.items()]
    return as_run(path, tasks, harness="vlmevalkit", model=model or path.stem)


def _candidates(path: Path) -> list[Path]:
    """Return the files that may be tables; those in the folder itself before those in its folders."""
    if path.is_file():
        return [path] if path.suffix in _ENDINGS else []
    for pattern in ("*", "*/*", "*/*/*"):
        # VLMEvalKit links each evaluation's files into the model's folder: the latest are meant there.
        found = sorted(file for file in path.glob(pattern) if file.suffix in _ENDINGS and file.is_file())
        if any(_looked_at(file) is not None for file in found):
            return found
    return []


def _looked_at(file: Path) -> _File | None:
    try:
        first = next((row for _, row in islice(tables.rows(file), 1)), {})
    except UserError:
        return None
    if not {"index", "prediction"} <= set(first):
        return None
    score = next((name for name in SCORES if name in first), None)
    grouped = next((name for name in ("category", "l2-category", "split") if name in first), None)
    return _File(file, score, grouped)


def _model(folder: Path, stems: list[str]) -> str | None:
    """Return the model's name: the status file has it, and the folders above are called by it."""
    names = [folder.name, folder.parent.name]
    status = folder / "status.json"
    if status.is_file():
        # It is written while VLMEvalKit runs; where it cannot be read, the folders tell.
        with suppress(OSError, ValueError, AttributeError):
            names.insert(0, str(json.loads(status.read_text(encoding="utf-8")).get("model_name")))
    return next((name for name in names if name and all(stem.startswith(f"{name}_") for stem in stems)), None)


def _dataset(stem: str, model: str | None) -> str | None:
    return None if model is None else stem.removeprefix(f"{model}_")


def _task(name: str, file: _File) -> OtherTask:
    metrics: Mapping[str, bool | None] = {} if file.score is None else {file.score: True}
    return OtherTask(name, file.path, metrics, _reader(file), config={"dataset_path": name})


def _reader(file: _File) -> Callable[[], Iterator[Sample]]:
    def read() -> Iterator[Sample]:
        for where, row in tables.rows(file.path):
            if tables.text(row.get("index")) is None:
                raise UserError(f"{where}: column 'index' is empty; expected the document's number")
            yield _sample(row, where, file)

    return read


def _sample(row: Row, where: str, file: _File) -> Sample:
    choices = [text for letter in string.ascii_uppercase if (text := tables.text(row.get(letter))) is not None]
    scores = {file.score: _score(row.get(file.score), f"{where}: column {file.score!r}", file)} if file.score else {}
    answer = tables.text(row.get("answer"))
    lettered = answer is not None and answer in string.ascii_uppercase[: len(choices)]
    return Sample(
        id=tables.text(row["index"]) or "",
        scores=scores,
        prediction=tables.text(row.get("prediction")) or "",
        target=_references(answer),
        question=tables.text(row.get("question")),
        group=tables.text(row.get(file.grouped)) if file.grouped else None,
        cluster=tables.text(row.get("image_path")),
        choices=choices if lettered else (),
    )


def _score(value: Any, where: str, file: _File) -> float | None:
    if file.score != _MATCHES:
        return tables.number(value, where)
    matches = [tables.number(one, where) for one in _list(value)]
    known = [one for one in matches if one is not None]
    if not known:
        raise UserError(f"{where}: expected a list of numbers, found {str(value)[:60]!r}")
    if any(name in file.path.stem for name in _NEAREST):
        return 1 - min(known) if min(known) <= 0.5 else 0.0
    return max(known) if any(name in file.path.stem for name in _BEST) else sum(known) / len(known)


def _list(value: Any) -> list[Any]:
    """Return a list that a cell holds as text, as numpy's numbers print or plain."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(_NUMPY.sub(r"\1", value))
        except (ValueError, SyntaxError):
            return []
    return value if isinstance(value, list) else []


def _references(answer: str | None) -> str | None:
    """Return the answer; of several, which VLMEvalKit writes as a Python list, the only one or all as JSON."""
    if answer is None or not answer.startswith("["):
        return answer
    several = _list(answer) or [answer]
    return str(several[0]) if len(several) == 1 else json.dumps(several, ensure_ascii=False)
