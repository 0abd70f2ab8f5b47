"""Evaluations of `emt check`: a finished run is reused, unless it has other settings or weights.

Each model is evaluated by `emt eval` in its own process, so that one model's memory is free before the next one
loads, and this module needs neither torch nor lmms-eval.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_tasks.datasets import include
from emt_tasks.tasks.evaluator import EvaluationSettings
from emt_tasks.tasks.fingerprint import state

SETTINGS_FILE = "emt_check.json"


def eval_arguments(settings: EvaluationSettings, output: Path) -> list[str]:
    """Build the argument list of `emt eval`: every setting is an option of the same name."""
    options = {field.name: getattr(settings, field.name) for field in fields(settings)}
    options |= {"tasks": ",".join(settings.tasks), "output": output}
    model = options.pop("model")
    named = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value not in (None, ""))
    return ["eval", model, *(word for option in named for word in option)]


def what_decides(settings: EvaluationSettings) -> dict[str, Any]:
    """All that the answers depend on; batch size and device do not count."""
    chosen = asdict(settings) | {"tasks": list(settings.tasks)}
    for name in ("batch_size", "device", "cache"):
        del chosen[name]
    asked = {"included tasks": found} if (found := include.contents()) else {}
    return chosen | asked | {"weights": {path: state(path) for path in (settings.model, settings.peft) if path}}


def is_run(path: str) -> bool:
    """Whether this names a folder that lmms-eval has written results into."""
    return any(Path(path).rglob("*_results.json")) if Path(path).is_dir() else False


def evaluate(role: str, settings: EvaluationSettings, output: Path, *, launch: str | None = None) -> Path:
    """Return the folder of a finished run: the model itself if it is one, an earlier one, or a new one.

    Args:
        role: `base`, `candidate` or `encoder`: the run's folder under `output`.
        settings: what to run.
        output: the folder of the check.
        launch: arguments of `accelerate launch`, if several processes share the work.

    Raises:
        UserError: the folder contains a run of another evaluation, or the evaluation failed.
    """
    if is_run(settings.model):
        return Path(settings.model)
    folder = output / role
    record = folder / SETTINGS_FILE
    wanted = what_decides(settings)
    if record.is_file():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found != wanted:
            raise UserError(
                f"{folder}: contains a run with other settings ({_difference(found, wanted)}); choose another "
                "--output, or remove that folder"
            )
        if is_run(str(folder)):
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    command = [sys.executable, "-m"]
    command += ["accelerate.commands.launch", *shlex.split(launch), "-m"] if launch else []
    command += ["emt_tasks", *eval_arguments(replace(settings, cache=folder / "cache"), folder)]
    # One model's table would precede that of the comparison: it goes to stderr.
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode or not is_run(str(folder)):
        name = settings.peft or settings.model
        raise UserError(f"{role}: {name} could not be evaluated (see above); repeat the command to resume")
    return folder


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    name = next(name for name in wanted if found.get(name) != wanted[name])
    if name == "weights":
        before = found.get(name) or {}
        changed = [path for path, state in wanted[name].items() if before.get(path) != state]
        return f"the weights in {' and '.join(changed)} have changed since"
    return f"{name} is {found.get(name)!r} there, {wanted[name]!r} here"
