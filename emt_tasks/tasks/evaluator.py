"""One model through lmms-eval, checked before it starts, with one folder of results or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, one_line


def check(names: Sequence[str]) -> None:
    """Make sure, before anything heavy is imported, that these tasks exist and that their data can be had.

    Raises:
        UserError: a name is neither ours nor lmms-eval's, or the data of one of our tasks is missing.
    """
    from emt_tasks.datasets.checks import check_data
    from emt_tasks.tasks import registry

    for name in names:
        if name not in registry.entries() and not _in_lmms_eval(name):
            raise UserError(f"task {name!r} is not known{_suggestion(name, list(registry.entries()))}")
    check_data(names)


def run(arguments: Sequence[str], output: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Run lmms-eval with these arguments and leave its files in `output`, or nothing where it fails.

    Returns lmms-eval's results; empty on all processes but the first.

    Raises:
        UserError: `output` holds results already, or the model or the data cannot be used.
    """
    if any(output.glob("*_results.json")) and not overwrite:
        raise UserError(f"--output: {output} holds results already; choose another folder or add --overwrite")
    from tenacity import RetryError

    from emt_tasks.plugin import run_lmms_eval

    with _staging(output) as folder:
        try:
            results = run_lmms_eval([*arguments, "--output_path", str(folder), "--verbosity", "WARNING"])
        except RetryError as error:  # lmms-eval tries five times to load a data set
            raise UserError(f"data could not be loaded: {one_line(_cause(error))}") from error
        if results and not list(folder.rglob("*_samples_*.jsonl")):
            raise UserError(f"lmms-eval wrote no samples for {output}; run it again with --debug")
    return results


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside `output`; its run becomes `output` at the end, or it goes if anything fails."""
    staging = output.with_name(f".{output.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
        written = [file for file in staging.rglob("*") if file.is_file()]
        if written:
            output.mkdir(parents=True, exist_ok=True)
            for old in (*output.glob("*_results.json"), *output.glob("*_samples_*.jsonl")):
                old.unlink()
            for file in written:
                file.replace(output / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _in_lmms_eval(name: str) -> bool:
    """Whether lmms-eval's own tasks mention this name; cheap, and lmms-eval itself decides later."""
    import importlib.util

    found = importlib.util.find_spec("lmms_eval")
    folder = Path(found.origin or "").parent / "tasks" if found else None
    if folder is None or not folder.is_dir():
        return True
    return "*" in name or any(name in file.read_text("utf-8", "ignore") for file in folder.rglob("*.yaml"))


def _suggestion(name: str, known: list[str]) -> str:
    from rapidfuzz import process

    near = [found for found, _, _ in process.extract(name, known, limit=3, score_cutoff=70)]
    return f"; did you mean {' or '.join(near)}?" if near else "; see: emt tasks list"


def _cause(error: Any) -> BaseException:
    """The innermost reason that a retried call failed."""
    reason: BaseException = error.last_attempt.exception() or error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    return reason
