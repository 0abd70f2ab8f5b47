"""Which candidates are checkpoints of one recipe, and what each is called.

`NAME=RUN` puts a run into the recipe NAME. Without a name, a run whose folder ends in a number, `lora/checkpoint-200`
or `lora-epoch2`, belongs to the recipe of that folder's other numbers; any other run is a recipe of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emt_core.public_names import digest, public_folder

_STEP = re.compile(r"(?P<stem>.*?)[-_. ]*(?P<step>\d+)(?P<unit>ep|epochs?|steps?|k)?", re.IGNORECASE)
_GENERIC = {"", "checkpoint", "ckpt", "step", "steps", "epoch", "ep", "iter", "iteration", "global_step"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate run: the curve it belongs to, its position on it, and a label that no other candidate has.

    `step` is the number that the folder's name ends in, None if it has none: such a run goes by its position on the
    command line.
    """

    path: Path
    recipe: str
    step: int | None
    label: str


def parse_candidates(arguments: Sequence[str]) -> list[Candidate]:
    """Read the CANDIDATE arguments of the command line, in order."""
    candidates = [_parse(argument) for argument in arguments]
    for longer in (1, 2, 3):
        times = Counter(candidate.label for candidate in candidates)
        candidates = [
            replace(candidate, label=_longer(candidate.path, longer)) if times[candidate.label] > 1 else candidate
            for candidate in candidates
        ]
    times = Counter(candidate.label for candidate in candidates)
    return [
        replace(candidate, label=f"{candidate.label} ({index})") if times[candidate.label] > 1 else candidate
        for index, candidate in enumerate(candidates, 1)
    ]


def split_name(argument: str) -> tuple[str | None, str]:
    """Return the name and the rest of `NAME=RUN`; no name where there is none, or a file is called so."""
    name, separator, rest = argument.partition("=")
    named = bool(separator and name and rest) and not Path(argument).exists()
    return (name, rest) if named else (None, argument)


def _parse(argument: str) -> Candidate:
    name, rest = split_name(argument)
    path = Path(rest)
    folder, *above = reversed(_parts(path))
    match = _STEP.fullmatch(folder)
    step = int(match["step"]) if match else None
    if name is not None:
        label = name if step is None else f"{name} {folder}"
        return Candidate(path, name, step, label)
    if match is None:
        return Candidate(path, folder, None, folder)
    stem = match["stem"]
    if stem.lower() in _GENERIC and above:
        return Candidate(path, above[0], step, f"{above[0]} {folder}")
    return Candidate(path, stem or folder, step, folder)


def _folder(path: Path) -> Path:
    """Return a run's folder: a results file stands for the folder that it lies in."""
    return path.parent if path.name.endswith("_results.json") else path


def _parts(path: Path) -> list[str]:
    """Return what a run's folder and the one above it are called, each fit to publish."""
    folder = _folder(path).resolve()
    return [public_folder(place) for place in (folder.parent, folder) if place.name] or ["run"]


def _longer(path: Path, longer: int) -> str:
    """Return a label with so many of the folders above that the user named; where a path starts elsewhere, a hash."""
    folder = _folder(path)
    if folder.is_absolute() or not {"..", "~"}.isdisjoint(folder.parts):
        return f"{public_folder(folder)} ({digest(str(folder.resolve()))})"
    return "/".join(public_folder(Path(part)) for part in folder.parts[-longer - 1 :]) or public_folder(folder)
