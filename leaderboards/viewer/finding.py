"""Which checks a folder holds: pairs of runs, finished or not, and runs that stand alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emt_core.checks import LOST, CheckRecord, is_running, read_record
from emt_core.errors import UserError
from emt_core.runs import is_run, run_file

SETTINGS = "emt_check.json"
"""What an evaluation by `emt check` is asked for, in its run's folder from the beginning."""

ENCODER = "encoder"
"""The role of a run that a check needs for its gaps, and that is no candidate."""

_DEPTH = 4
_SKIPPED = ("cache", "probes", "evaluations")


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a check: its role, its name, its run's folder, and whether that holds a finished run."""

    role: str
    name: str
    folder: Path
    finished: bool
    started: bool


@dataclass(frozen=True, slots=True)
class Check:
    """A base and one candidate, or one run alone; `name` is unique among the checks of a folder.

    `folder` is the check's, `running` says whether a check is at work in it, `record` what it says of itself.
    """

    name: str
    folder: Path
    base: Model
    candidate: Model | None
    running: bool
    record: CheckRecord

    @property
    def models(self) -> tuple[Model, ...]:
        """The base and, if there is one, the candidate."""
        return (self.base, self.candidate) if self.candidate else (self.base,)

    @property
    def finished(self) -> bool:
        """Whether all models' runs are there."""
        return all(model.finished for model in self.models)

    @property
    def causes(self) -> Path | None:
        """The file with the lost answers' causes, if they were looked for."""
        places = [self.candidate.folder, self.folder] if self.candidate else []
        return next((place / LOST for place in places if (place / LOST).is_file()), None)

    @property
    def report(self) -> Path | None:
        """The check's report, if it has been written."""
        page = self.folder / "report.html"
        return page if page.is_file() and not self.running else None


def find_checks(root: Path) -> list[Check]:
    """Return the checks in a folder and below it, and the runs that are in none, in the order of their names.

    Raises:
        UserError: there is no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected one with a check or with runs, such as -o of emt check")
    checks: list[Check] = []
    places = list(_folders(root))
    for folder in places:
        checks += _in(folder, root)
    known = {model.folder for check in checks for model in check.models}
    known |= {check.folder / ENCODER for check in checks}
    for folder in places:
        alone = any(_named(folder, ("_results.json",)))
        if alone and not any(one == folder or one in folder.parents for one in known):
            model = _model("run", folder, None)
            checks.append(Check(_relative(folder, root), folder, model, None, False, CheckRecord()))
    return checks


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder and those below it that may hold checks or runs."""
    for place, folders, _ in os.walk(root):
        depth = len(Path(place).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        if depth >= _DEPTH:
            folders.clear()
        yield Path(place)


def _in(folder: Path, root: Path) -> Iterator[Check]:
    """Yield the checks whose folder this is: one a candidate."""
    record = read_record(folder)
    if record is None and not _is_evaluation(folder / "base"):
        return
    record = record or CheckRecord()
    running = is_running(folder)
    base = _model("base", folder, record.models.get("base"))
    roles = [role for role in record.models if role not in ("base", ENCODER)] or [
        path.relative_to(folder).as_posix()
        for path in sorted([*folder.iterdir(), *folder.glob("candidates/*")])
        if path.name not in ("base", ENCODER, "candidates") and _is_evaluation(path)
    ]
    for role in roles:
        place = folder if len(roles) == 1 else folder / role
        candidate = _model(role, folder, record.models.get(role))
        yield Check(_relative(place, root), folder, base, candidate, running, record)
    if not roles:
        yield Check(_relative(folder, root), folder, base, None, running, record)


def _model(role: str, folder: Path, said: str | None) -> Model:
    """Return a model of a check: what `said` names is a finished run, or else its run is a folder of the check."""
    own = folder / role if role != "run" else folder
    if said and not own.is_dir() and Path(said).is_dir() and is_run(Path(said)):
        own = Path(said)
    finished = own.is_dir() and is_run(own)
    return Model(role, said or _settled(own) or own.name, own, finished, (own / SETTINGS).is_file())


def _settled(folder: Path) -> str | None:
    """Return the model that an evaluation's settings name."""
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return str(found.get("peft") or found["model"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_evaluation(folder: Path) -> bool:
    """Whether a folder is an evaluation's: finished, or at least begun."""
    return folder.is_dir() and ((folder / SETTINGS).is_file() or is_run(folder))


def _named(folder: Path, ends: tuple[str, ...]) -> Iterator[Path]:
    yield from (path for path in folder.iterdir() if path.name.endswith(ends) and run_file(path))


def _relative(folder: Path, root: Path) -> str:
    path = folder.relative_to(root).as_posix()
    return path if path != "." else root.resolve().name or "check"
