"""What an export needs to know: from the user where a run does not say it, else from the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from emt_core.public_names import is_hub_name
from emt_core.runs import Run, Task

Relationship = Literal["first_party", "third_party", "collaborative", "other"]

_CHECKPOINT = re.compile(r"(?:^|,)pretrained=([^,]+)")


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Facts for an export.

    `model` is the model's name on the Hugging Face hub, `datasets` a task's data set there, if the run does not
    say; `organization` is who evaluated, and `relationship` what they are to the model's developer. `now` is when the
    export is made.
    """

    model: str | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)
    organization: str = "unknown"
    relationship: Relationship = "other"
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def model_id(run: Run, settings: ExportSettings) -> str:
    """Return the model as ORG/NAME: as given, as the run's hub name, else `local/` and the run's own name."""
    if settings.model:
        return settings.model
    match = _CHECKPOINT.search(run.model_args or "")
    if match and is_hub_name(match[1]):
        return match[1]
    return f"local/{re.sub(r'[^A-Za-z0-9._-]+', '-', run.name).strip('.-') or 'model'}"


def dataset_id(task: Task, settings: ExportSettings) -> str | None:
    """Return a task's data set on the hub: as told, as its metadata says, or as it was loaded; None if unknown."""
    known = (settings.datasets.get(task.name), task.metadata.get("dataset"), task.config.get("dataset_path"))
    return next((name for name in known if isinstance(name, str) and is_hub_name(name)), None)


def split(task: Task) -> str | None:
    """Return the split that a task was evaluated on."""
    name = task.config.get("test_split") or task.config.get("validation_split")
    return str(name) if name else None


def date(run: Run) -> str | None:
    """Return when the run was evaluated: the moment, in UTC, if its time stamp's zone is known; else the day."""
    stamp = str(run.results.get("date") or run.stamp)[:15]
    arguments = run.settings.get("resolved_cli_args") or {}
    try:
        local = datetime.strptime(stamp, "%Y%m%d_%H%M%S")
        zone = ZoneInfo(str(arguments["timezone"]))
    except ValueError:
        return None
    except (KeyError, ZoneInfoNotFoundError):
        return local.date().isoformat()
    return local.replace(tzinfo=zone).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
