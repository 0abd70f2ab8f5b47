"""`emt check`: evaluate a base and a candidate, compare them sample by sample, gate and report.

Each model is evaluated by `emt eval` in a process of its own, so that one model's memory is free before the next
one loads, and so that this module needs neither torch nor lmms-eval.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emt_core.errors import UserError

SETTINGS_FILE = "emt_check.json"


@dataclass(frozen=True)
class Evaluation:
    """How one model is evaluated; equal evaluations may share a run.

    `model` is a checkpoint, an adapter's folder (put on `base`), or an open_clip encoder where `kind` is
    `emt_clip`.
    """

    model: str
    tasks: str
    kind: str = "emt_vlm"
    base: str | None = None
    batch_size: int = 8
    device: str | None = None
    limit: int | None = None
    judge: str | None = None
    model_args: str = ""

    def arguments(self, output: Path, cache: Path) -> list[str]:
        """The command line of `emt eval` for this evaluation."""
        model, peft = (self.base or self.model, self.model) if self.base else (self.model, None)
        arguments = ["eval", model, "--tasks", self.tasks, "-o", str(output), "--cache", str(cache)]
        options = {
            "--model-kind": self.kind,
            "--peft": peft,
            "--batch-size": str(self.batch_size),
            "--device": self.device,
            "--limit": None if self.limit is None else str(self.limit),
            "--judge": self.judge,
            "--model-args": self.model_args or None,
        }
        return arguments + [word for name, value in options.items() if value is not None for word in (name, value)]

    def what_decides(self) -> dict[str, Any]:
        """All that the answers depend on; how many images go through at a time, and where, does not count."""
        settings = asdict(replace(self, batch_size=0, device=None))
        return settings | {"weights": {path: _state(path) for path in (self.model, self.base) if path}}


def is_run(path: str) -> bool:
    """Whether this names a folder that lmms-eval has written results into."""
    return any(Path(path).rglob("*_results.json")) if Path(path).is_dir() else False


def is_adapter(path: str) -> bool:
    """Whether this names the folder of a PEFT adapter."""
    return (Path(path) / "adapter_config.json").is_file() and not (Path(path) / "config.json").is_file()


def evaluate(role: str, evaluation: Evaluation, output: Path, *, launch: str | None = None) -> Path:
    """Return the folder of a finished run: the model itself where it is one, a former one, or a new one.

    Args:
        role: `base`, `candidate` or `encoder`: the run's folder under `output`.
        evaluation: what to run.
        output: the folder of the check.
        launch: arguments of `accelerate launch`, where several processes shall share the work.

    Raises:
        UserError: the folder holds a run of another evaluation, or the evaluation failed.
    """
    if is_run(evaluation.model):
        return Path(evaluation.model)
    folder = output / role
    settings = folder / SETTINGS_FILE
    wanted = evaluation.what_decides()
    if settings.is_file():
        found = json.loads(settings.read_text(encoding="utf-8"))
        if found != wanted:
            raise UserError(
                f"{folder}: holds a run of other settings ({_difference(found, wanted)}); choose another --output, "
                "or remove that folder"
            )
        if is_run(str(folder)):
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    command = [sys.executable, "-m"]
    command += ["accelerate.commands.launch", *shlex.split(launch), "-m"] if launch else []
    command += ["emt_tasks", *evaluation.arguments(folder, folder / "cache")]
    # The table of one model would stand before that of the comparison: it goes to stderr.
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode or not is_run(str(folder)):
        raise UserError(f"{role}: {evaluation.model} could not be evaluated, see above; repeat the command to go on")
    return folder


def _state(model: str) -> str | None:
    """Return what changes when the weights in a folder do: a hash of their files' sizes and times; None for a name."""
    files = [file for file in sorted(Path(model).glob("*")) if file.suffix in (".safetensors", ".bin")]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16] if files else None


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    name = next(name for name in wanted if found.get(name) != wanted[name])
    if name == "weights":
        before = found.get(name) or {}
        changed = [path for path, state in wanted[name].items() if before.get(path) != state]
        return f"the weights in {' and '.join(changed)} have changed since"
    return f"{name} is {found.get(name)!r} there, {wanted[name]!r} here"
