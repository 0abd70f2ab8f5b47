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
            replace(candidate, label="/".join(_parts(candidate.path)[-longer - 1 :]))
            if times[candidate.label] > 1
            else candidate
            for candidate in candidates
        ]
    times = Counter(candidate.label for candidate in candidates)
    return [
        replace(candidate, label=f"{candidate.label} ({index})") if times[candidate.label] > 1 else candidate
        for index, candidate in enumerate(candidates, 1)
    ]


def _parse(argument: str) -> Candidate:
    name, separator, rest = argument.partition("=")
    named = bool(separator and name and rest) and not Path(argument).exists()
    path = Path(rest if named else argument)
    folder, *above = reversed(_parts(path))
    match = _STEP.fullmatch(folder)
    step = int(match["step"]) if match else None
    if named:
        label = name if step is None else f"{name} {folder}"
        return Candidate(path, name, step, label)
    if match is None:
        return Candidate(path, folder, None, folder)
    stem = match["stem"]
    if stem.lower() in _GENERIC and above:
        return Candidate(path, above[0], step, f"{above[0]} {folder}")
    return Candidate(path, stem or folder, step, folder)


def _parts(path: Path) -> list[str]:
    """Return the folders of a path; a results file stands for its folder."""
    folder = path.parent if path.name.endswith("_results.json") else path
    return [part for part in folder.resolve().parts if part != folder.anchor] or ["run"]
