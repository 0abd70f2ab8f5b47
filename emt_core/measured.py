"""The folders in which it is kept what places in a model know of each document: a header, and rows for each task.

A row has `doc_id`; `asked`, the digest of its prompt and its right answer; `closed_sets`, kind to what
`emt_tasks.tasks.scoring.closed_set` returns, with the `right` choice (kinds: `label`; or `letter` and `text` for
lettered options); `shows`, the class of what the image shows; `probes`, place to the class read there. The last two are
missing where the task does not say what its images show, or has too few documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, one_line
from emt_core.files import read_rows

HEADER = "emt_probe.json"
"""The model, its tower's digest, and for each task: its documents, the mean number of choices of each closed set, and
what its probes have learned from."""

ROWS = "probe_{task}.jsonl"


def question_digest(prompt: str, target: str) -> str:
    """Return what tells a document and its question from others: of its prompt and its right answer."""
    return hashlib.blake2b(f"{prompt}\0{target}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured model: its folder, its vision tower's digest, and what the header says of each task."""

    folder: Path
    tower: str
    tasks: Mapping[str, Mapping[str, Any]]

    def rows(self, task: str) -> dict[int, dict[str, Any]]:
        """Return a task's rows by document.

        Raises:
            UserError: they cannot be read.
        """
        return {row["doc_id"]: row for _, row in read_rows(self.folder / ROWS.format(task=task))}


def check_output(output: Path, *, overwrite: bool) -> None:
    """Make sure that a model can be measured into a folder.

    Raises:
        UserError: it has a measured model, or is no folder.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file; expected a folder, or a name that is free")
    if (output / HEADER).exists() and not overwrite:
        raise UserError(f"--output: {output} already has a measured model; choose another folder or add --overwrite")


def read_measured(folder: Path) -> Measured:
    """Return what was measured in a folder.

    Raises:
        UserError: there is nothing, or it cannot be read.
    """
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        return Measured(folder, str(header["tower"]), header["tasks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no measured model ({one_line(error)}); expected what emt probe writes") from error
