"""What a check says of itself on disk while it runs: its models, how many documents there are to ask, its verdicts.

`emt check` writes it, `emt view` shows it. The runs themselves say the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emt_core.files import write_text

RECORD = ".emt-progress.json"

RUNNING = ".emt-running"
"""A file that a check keeps locked as long as it lives, however it ends."""

LOST = "lost.jsonl"
"""Each lost answer's task, `doc_id` and cause, where these were looked for."""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """One check.

    Attributes:
        models: role to the model's name, or to the folder of its finished run. Roles are folders of the check.
        documents: how many documents each task asks, as far as it is known before.
        verdicts: role of a candidate to its gate's result, as `emt gate --json` prints it.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@contextmanager
def recording(folder: Path, models: Mapping[str, str], documents: Mapping[str, int]) -> Iterator[None]:
    """Say in a folder what a check is about to do, and that it runs; verdicts of an earlier one are taken back."""
    _write(folder, CheckRecord(dict(models), dict(documents)))
    with (folder / RUNNING).open("w") as lock:
        # Another check in this folder is no concern of this file: both may hold it.
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def record_verdicts(folder: Path, verdicts: Mapping[str, Mapping[str, Any]]) -> None:
    """Add candidates' verdicts, by role."""
    found = read_record(folder) or CheckRecord()
    _write(folder, CheckRecord(found.models, found.documents, {**found.verdicts, **verdicts}))


def read_record(folder: Path) -> CheckRecord | None:
    """Return what a check says of itself; None where none does, or what is there is something else."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        models = {str(role): str(model) for role, model in found["models"].items()}
        documents = {str(task): int(count) for task, count in found["documents"].items()}
        verdicts = {str(role): dict(result) for role, result in found["verdicts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return CheckRecord(models, documents, verdicts)


def is_running(folder: Path) -> bool:
    """Whether a check is at work in a folder; False too where the file system has no locks."""
    try:
        import fcntl

        with (folder / RUNNING).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except (ImportError, OSError):
        pass
    return False


def _write(folder: Path, record: CheckRecord) -> None:
    data = {"models": record.models, "documents": record.documents, "verdicts": record.verdicts}
    write_text(folder / RECORD, json.dumps(data, ensure_ascii=False, indent=1) + "\n", overwrite=True)
