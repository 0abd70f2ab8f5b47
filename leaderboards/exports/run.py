"""Write a run in one format: all of its files, or none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from emt_core.errors import UserError, one_line
from emt_core.files import replacing
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.settings import ExportSettings

FORMATS: Mapping[str, str] = {
    "hf-eval-results": "Hugging Face .eval_results/*.yaml, for the model's page and a data set's leaderboard",
    "model-index": "a model card (README.md) with the results in its front matter",
    "every-eval-ever": "Every Eval Ever: one JSON and its samples as JSON lines",
    "openvlm": "JSON as the OpenVLM leaderboard reads it",
    "csv": "one row per number",
    "markdown": "a table for a README",
    "latex": "a table for a paper (booktabs)",
}
"""The formats; each is written by the module of its name, with `_` for `-`."""

_MODULES = {"csv": "comma_separated"}
"""Modules whose plain name would be one of the standard library's."""


def export(
    summary: RunSummary, name: str, out: Path, settings: ExportSettings, *, overwrite: bool = False
) -> list[Path]:
    """Write a run into the folder `out`, in the format of that name; returns the files written.

    Raises:
        UserError: the format is unknown, a file exists and `overwrite` is off, or the format needs something missing.
    """
    if name not in FORMATS:
        raise UserError(f"--to {name}: unknown format; choose one of {', '.join(FORMATS)}")
    module = importlib.import_module(f"leaderboards.exports.{_MODULES.get(name, name.replace('-', '_'))}")
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
        raise UserError(f"{out / existing[0]} already exists: choose another folder or add --overwrite")
    targets = [out / part for part in parts]
    with replacing(targets) as partials:
        for part, partial in zip(parts, partials, strict=True):
            (scratch / part).replace(partial)
    return targets
