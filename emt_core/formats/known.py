"""The formats of other harnesses' runs: how each is recognised, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emt_core.errors import UserError, listed
from emt_core.formats import evalscope, inspect_logs, lm_eval, tables, vlmevalkit
from emt_core.runs import Run, is_lmms_eval


@dataclass(frozen=True, slots=True)
class Format:
    """One harness's runs: its name, what its files look like, whether a path is one, and the reader."""

    name: str
    files: str
    is_one: Callable[[Path], bool]
    read: Callable[[Path], Run]


FORMATS = (
    Format("inspect_ai", "*.eval or *.json logs", inspect_logs.is_inspect, inspect_logs.read_inspect),
    Format("lm-evaluation-harness", "results_*.json with samples_*.jsonl", lm_eval.is_lm_eval, lm_eval.read_lm_eval),
    Format("EvalScope", "reviews/MODEL/*.jsonl", evalscope.is_evalscope, evalscope.read_evalscope),
    Format("VLMEvalKit", "MODEL_DATASET.xlsx, .tsv or .json", vlmevalkit.is_vlmevalkit, vlmevalkit.read_vlmevalkit),
    Format(
        "a table", "a CSV, TSV, JSON, JSONL, parquet or xlsx with id and score", tables.is_table, tables.read_tables
    ),
)
"""In the order in which they are tried; lmms-eval's own runs come before them all."""


def is_other(path: Path) -> bool:
    """Whether this is a run of a harness that is not lmms-eval."""
    return path.exists() and not is_lmms_eval(path) and any(one.is_one(path) for one in FORMATS)


def read_other(path: Path) -> Run:
    """Read a run that lmms-eval did not write; the path alone says what it is.

    Raises:
        UserError: there is nothing, or nothing known.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: expected a run, such as an lmms-eval output folder")
    found = next((one for one in FORMATS if one.is_one(path)), None)
    if found is None:
        raise UserError(f"{path} is no run that is known here: {_seen(path)}; expected {_expected()}")
    return found.read(path)


def _expected() -> str:
    known = [f"{one.files} ({one.name})" if one.name != "a table" else one.files for one in FORMATS]
    return "; ".join(["*_results.json (lmms-eval)", *known])


def _seen(path: Path) -> str:
    if path.is_file():
        return f"found a file *{path.suffix}" if path.suffix else "found a file without an ending"
    if not any(path.iterdir()):
        return "the folder is empty"
    names = sorted(file.name + ("/" if file.is_dir() else "") for file in path.iterdir())
    return f"found {listed(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
