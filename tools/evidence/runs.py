"""Train and evaluate what the claims rest on, by the project's own commands; what is done is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emt_core.errors import UserError
from emt_core.measured import HEADER
from emt_core.runs import is_run, read_run
from tools.evidence.results import BASE, RESCUED_RUN

FILE = Path(__file__).with_name("evidence.yaml")
_MODEL_ARGS = "attn_implementation=eager,dtype=bfloat16"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One fine-tuning of the small model: a shipped recipe, its overrides, and what is evaluated at its checkpoints."""

    name: str
    recipe: str
    overrides: Mapping[str, Any]
    tasks: tuple[str, ...]
    seed: int

    def command(self, model: Path, output: Path) -> list[str]:
        """The arguments of `emt` that run it."""
        settings = {
            **self.overrides,
            "model": model,
            "seed": self.seed,
            "evaluate.tasks": "[]",
            "output": output,
        }
        return ["finetune", self.recipe, *(f"{key}={_plain(value)}" for key, value in settings.items())]


def read(file: Path = FILE) -> dict[str, Any]:
    """Read the YAML file of runs and claims."""
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def only(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the settings with the runs of one group, and none of what only the base is asked."""
    return {**settings, "runs": {group: settings["runs"][group]}, "base_only": []}


def experiments(settings: Mapping[str, Any], work: Path, seeds: int) -> Iterator[Experiment]:
    """Yield all fine-tunings, one seed after the other, so that an early stop leaves one of each.

    One that several groups have is the first one's.
    """
    for seed in range(seeds):
        met: set[str] = set()
        for group in settings["runs"].values():
            for name, own in group["each"].items():
                if name in met:
                    continue
                met.add(name)
                overrides = {
                    key: value.replace("${work}", str(work)) if isinstance(value, str) else value
                    for key, value in {**group["set"], **own}.items()
                    if key != "recipe"
                }
                yield Experiment(name, own["recipe"], overrides, tuple(group["tasks"]), seed)


def base_tasks(settings: Mapping[str, Any]) -> list[str]:
    """All tasks of all runs, each once, and what only the base is asked."""
    tasks = [task for group in settings["runs"].values() for task in group["tasks"]]
    return list(dict.fromkeys([*tasks, *settings["base_only"]]))


def run(experiment: Experiment, model: Path, folder: Path) -> None:
    """Fine-tune and evaluate each checkpoint, or go on where that was stopped.

    Raises:
        UserError: the command failed; says where it wrote why. Or it was run with other settings.
    """
    output = folder / f"{experiment.name}-{experiment.seed}"
    log, done = output.with_suffix(".log"), output.with_suffix(".done")
    command = experiment.command(model, output)
    if not done.exists():
        emt([*command, *(["--resume"] if output.is_dir() else [])], log)
        done.write_text("\n".join(command), encoding="utf-8")
    if done.read_text(encoding="utf-8") != "\n".join(command):
        raise UserError(f"{output} was trained with other settings; remove it and {done.name} to train it again")
    for checkpoint in sorted(output.glob("checkpoint-*")):
        evaluate(checkpoint, experiment.tasks, folder / output.name / "evaluated" / checkpoint.name, log)


def matrix(settings: Mapping[str, Any], folder: Path) -> Path:
    """Write which task is in which quadrant, as `emt` reads it, and return the file."""
    file = folder / "matrix.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings["matrix"]), encoding="utf-8")
    return file


def rescue(
    settings: Mapping[str, Any], tasks: Sequence[str], model: Path, folder: Path, seed: int, quadrants: Path
) -> None:
    """Search a merge of the base and a fine-tuning that is done, by `emt rescue`, unless that is done.

    Raises:
        UserError: the search failed, or had nothing to search.
    """
    output = folder / f"{settings['name']}-{seed}"
    log, done = output.with_suffix(".log"), output.with_suffix(".done")
    if done.exists():
        return
    candidate = sorted((folder / f"{settings['candidate']}-{seed}").glob("checkpoint-*"))[-1]
    arguments = ["rescue", model, candidate, "--learn", settings["learn"], "--tasks", ",".join(tasks)]
    arguments += ["--matrix", quadrants, "--margin", settings["margin"], "--batch-size", 32, "--output", output]
    emt([*map(str, arguments), "--model-args", _MODEL_ARGS], log, passes=(0, 1, 2))  # 1 and 2 are verdicts too
    if not is_run(output / RESCUED_RUN):
        raise UserError(f"emt rescue wrote no {RESCUED_RUN} ({log}): {_last_line(log)}")
    done.touch()


def diagnose(model: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Measure the closed sets of the base, and of the first seed of each fine-tuning that is diagnosed."""
    models = {BASE: model}
    for name in settings["diagnosed"]["models"]:
        models[name] = sorted((folder / f"{name}-0").glob("checkpoint-*"))[-1]
    for name, checkpoint in models.items():
        output = folder / f"{name}.probes"
        if not (output / HEADER).is_file():
            arguments = ["probe", checkpoint, "--tasks", ",".join(settings["diagnosed"]["tasks"]), "--no-probes"]
            arguments += ["--batch-size", 32, "--output", output, "--model-args", _MODEL_ARGS]
            emt([*map(str, arguments)], folder / f"{name}.probes.log")


def evaluate(model: Path, tasks: Sequence[str], output: Path, log: Path) -> None:
    """Evaluate a checkpoint, unless that is done for all of the tasks."""
    if not is_run(output) or not set(tasks) <= set(read_run(output).tasks):
        arguments = ["eval", model, "--tasks", ",".join(tasks), "--batch-size", 32, "--output", output]
        emt([*map(str, arguments), "--model-args", _MODEL_ARGS, "--overwrite"], log)


def emt(arguments: list[str], log: Path, *, passes: Sequence[int] = (0,)) -> None:
    """Run `emt` in a process of its own, whose memory is then free again.

    Raises:
        UserError: its exit code is none of `passes`; the last line that it wrote is quoted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"emt {' '.join(arguments)}  > {log}", file=sys.stderr, flush=True)
    with log.open("a", encoding="utf-8") as file:
        command = [sys.executable, "-m", "emt_tasks", *arguments]
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ, check=False).returncode
    if code not in passes:
        raise UserError(f"emt {arguments[0]} failed ({log}): {_last_line(log)}")


def _last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][:300]


def _plain(value: Any) -> str:
    """A value as an override has it: YAML, where braces would begin a mapping."""
    bare = isinstance(value, str | Path) and "{" not in str(value)
    return str(value) if bare else json.dumps(value)
