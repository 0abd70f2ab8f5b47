"""Write a run in one format: all of its files, or none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from emt_core.errors import UserError, one_line
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.settings import Settings

FORMATS: Mapping[str, str] = {
    "hf-eval-results": "Hugging Face .eval_results/*.yaml, for the model's page and a data set's leaderboard",
    "model-index": "a model card (README.md) with the results in its front matter",
    "every-eval-ever": "Every Eval Ever: one JSON and its samples as JSON lines",
    "csv": "one row a number",
    "markdown": "a table for a README",
    "latex": "a table for a paper (booktabs)",
}
"""The formats; each is written by the module of its name, with `_` for `-`."""


def export(summary: RunSummary, name: str, out: Path, settings: Settings, *, overwrite: bool = False) -> list[Path]:
    """Write a run into the folder `out`, in the format of that name; returns the files written.

    Raises:
        UserError: there is no such format, a file exists and `overwrite` is off, or the format lacks something.
    """
    if name not in FORMATS:
        raise UserError(f"--to {name}: no such format; choose one of {', '.join(FORMATS)}")
    module = importlib.import_module(f"leaderboards.exports.{name.replace('-', '_')}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".export-") as scratch:
            module.write(summary, Path(scratch), settings)
            return _publish(Path(scratch), out, overwrite=overwrite)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {one_line(error)}") from error


def _publish(scratch: Path, out: Path, *, overwrite: bool) -> list[Path]:
    """Move the finished files to where they belong."""
    parts = sorted(file.relative_to(scratch) for file in scratch.rglob("*") if file.is_file())
    existing = [part for part in parts if (out / part).exists()]
    if existing and not overwrite:
        raise UserError(f"{out / existing[0]} exists already: name another folder or add --overwrite")
    for part in parts:
        (out / part).parent.mkdir(parents=True, exist_ok=True)
        (scratch / part).replace(out / part)
    return [out / part for part in parts]
