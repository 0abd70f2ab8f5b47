"""What was seen of other tasks while a candidate was trained: the looks in its checkpoint's loss log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from emt_core.runs import Run

LOG_FILE = "emt_train.jsonl"
"""What `emt finetune` calls the loss log that it writes beside a checkpoint's weights."""

MEASURES = ("kl", "shift", "bias")


@dataclass(frozen=True, slots=True)
class Seen:
    """A task at one look; accuracies from 0 to 1, `documents` how many they are of, where the log says.

    `base` is the base's accuracy on the same documents. `kl` is in nats, `shift` and `bias` are differences of
    probabilities. Each is None where the log has no such number.
    """

    accuracy: float | None
    base: float | None
    documents: int
    kl: float | None
    shift: float | None
    bias: float | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """The look at which tasks were shown to have lost more than `margin` points; `then`: `end` or `slower`."""

    step: int
    tasks: tuple[str, ...]
    margin: float
    then: str


@dataclass(frozen=True, slots=True)
class Training:
    """What a log says: each look by its step, 0 for the base; the task that was learned; the alarm, if there was one.

    `unread` counts lines that are no JSON objects.
    """

    looks: Mapping[int, Mapping[str, Seen]]
    learned: str | None
    alarm: Alarm | None
    unread: int = 0


def read_training(run: Run) -> Training | None:
    """Read the log beside the checkpoint that a run is of; None where there is no log here, or no look in it."""
    named = run.named_arguments
    checkpoint = named.get("peft") or named.get("pretrained")  # an adapter's base may have a log of its own
    file = Path(checkpoint) / LOG_FILE if checkpoint else None
    return read_log(file) if file and file.is_file() else None


def read_log(file: Path) -> Training | None:
    """Read a loss log; None if it has no look after the first step."""
    looks: dict[int, Mapping[str, Seen]] = {}
    learned, alarm, unread = None, None, 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        record = _record(line)
        if record is None:
            unread += bool(line.strip())
            continue
        step, probe, raised = int(record["step"]), record.get("probe"), record.get("alarm")
        if isinstance(probe, dict):
            looks[step] = {str(task): _seen(found) for task, found in probe.items() if isinstance(found, dict)}
            learned = record.get("learn", learned)
        if isinstance(raised, dict) and alarm is None:
            tasks = tuple(map(str, raised.get("tasks") or ()))
            alarm = Alarm(step, tasks, _number(raised, "margin") or 0.0, str(raised.get("then")))
    if not any(step > 0 for step in looks):
        return None
    if 0 not in looks:
        looks[0] = {task: _base_of(seen) for task, seen in looks[min(looks)].items()}
    return Training(looks, learned, alarm, unread)


def _record(line: str) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if known else None


def _base_of(seen: Seen) -> Seen:
    """Return the base at a look, for logs that do not begin with it: it has not moved from itself."""
    moved = (None if value is None else 0.0 for value in (seen.kl, seen.shift, seen.bias))
    return Seen(seen.base, seen.base, seen.documents, *moved)


def _seen(found: Mapping[str, Any]) -> Seen:
    drops = found.get("drops")
    documents = len(drops) if isinstance(drops, list) else 0
    return Seen(
        _number(found, "accuracy"), _number(found, "base"), documents, *(_number(found, name) for name in MEASURES)
    )


def _number(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    return float(value) if isinstance(value, int | float) and isfinite(value) else None
