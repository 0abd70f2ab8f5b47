"""Evaluations of `emt check`: a finished run is reused, unless it has other settings or weights.

The models that are left are evaluated in one process of their own (see `jobs`), which this one starts: so it needs
neither torch nor lmms-eval.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import typer

from emt_core.errors import UserError
from emt_core.looks import LOOKS
from emt_core.measured import HEADER, Measured, read_measured
from emt_core.runs import read_run
from emt_tasks.commands.jobs import Job, Plan, write_plan
from emt_tasks.commands.looks import Rules, next_looks
from emt_tasks.datasets import include
from emt_tasks.tasks.evaluator import EvaluationSettings, is_adapter_alone
from emt_tasks.tasks.fingerprint import DATA_VARIABLE, data_state, states

SETTINGS_FILE = "emt_check.json"

JOBS_FILE = ".emt-jobs.json"

INTERNAL = "evaluate-jobs"
"""The command that carries out a plan."""

PROBES = "probes"
"""The folder, within a run's, of what `emt probe` measures."""


def probe_arguments(settings: EvaluationSettings, output: Path) -> list[str]:
    """Build the argument list of `emt probe`: every setting that it has is an option of the same name."""
    options = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name in ("judge", "cache", "model_kind"):
        del options[name]
    options |= {"tasks": ",".join(settings.tasks), "output": output}
    model = options.pop("model")
    named = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value not in (None, ""))
    return ["probe", model, *(word for option in named for word in option)]


def what_decides(settings: EvaluationSettings) -> dict[str, Any]:
    """All that the answers depend on; batch size and device do not count."""
    chosen = asdict(settings) | {"tasks": list(settings.tasks)}
    for name in ("batch_size", "device", "cache"):
        del chosen[name]
    asked = {"included tasks": found} if (found := include.contents()) else {}
    data = {"data": found} if (found := data_state()) else {}
    weights = states(settings.model) | (states(settings.peft) if settings.peft else {})
    return chosen | asked | data | {"weights": weights}


def candidate_settings(candidate: str, base: str, alike: EvaluationSettings) -> EvaluationSettings:
    """Return a candidate's settings: an adapter goes on the base, unless that is a run or an adapter itself."""
    on = is_adapter_alone(candidate) and not (is_run(base) or is_adapter_alone(base))
    return replace(alike, model=base, peft=candidate) if on else replace(alike, model=candidate)


def tell_models(wanted: Mapping[str, EvaluationSettings]) -> dict[str, str]:
    """Return each role's model: a finished run's folder, wherever it lies, or the name."""
    return {
        role: str(Path(one.model).resolve()) if is_run(one.model) else one.peft or one.model
        for role, one in wanted.items()
    }


def is_run(path: str) -> bool:
    """Whether this names a folder that lmms-eval has written results into."""
    return any(Path(path).rglob("*_results.json")) if Path(path).is_dir() else False


def evaluate_all(
    wanted: Mapping[str, EvaluationSettings],
    output: Path,
    *,
    launch: str | None = None,
    probe: Collection[str] = (),
    rules: Rules | None = None,
) -> dict[str, Path]:
    """Return the folders of finished runs: the model itself if it is one, an earlier one, or a new one.

    Args:
        wanted: what to run, by role: `base`, `candidate` or `encoder`, or one that begins so; each is the run's folder
            under `output`.
        output: the folder of the check.
        launch: arguments of `accelerate launch`, if several processes share the work.
        probe: roles of models that the same process is to measure as `probed` does, where one process does the work.
        rules: evaluate look by look, and end as soon as they let the gate's verdict stand.

    Raises:
        UserError: a folder contains a run of another evaluation, or an evaluation failed.
    """
    more = {} if rules is None else {"sequential": {"cap": rules.cap, "looks": LOOKS}}
    folders = {
        role: Path(settings.model) if is_run(settings.model) else output / role for role, settings in wanted.items()
    }
    jobs = {}
    for number, (role, settings) in enumerate(wanted.items(), start=1):
        title = f"[{number}/{len(wanted)}] {role}: {settings.peft or settings.model}"
        folder = folders[role]
        if is_run(settings.model) or (_is_there(folder, settings, is_run(str(folder)), more) and rules is None):
            typer.echo(f"{title} (finished)", err=True)
            continue
        measured = folder / PROBES
        measure = role in probe and not launch and not _is_there(measured, settings, (measured / HEADER).is_file())
        asked = replace(settings, cache=folder / "cache")
        jobs[role] = Job(title, asked, folder, measured if measure else None)
    candidates = [folders[role] for role in wanted if role.startswith("candidate")]
    plan = Plan(list(jobs.values()), rules, folders.get("base"), candidates)
    if jobs and not (rules and _stands(plan, rules)):
        _carry_out(plan, output, launch)
        for role, job in jobs.items():
            if not is_run(str(job.folder)):
                name = job.settings.peft or job.settings.model
                raise UserError(f"{role}: {name} could not be evaluated (see above); repeat the command to resume")
    return folders


def _stands(plan: Plan, rules: Rules) -> bool:
    """Whether all that a sequential check needs is there from an earlier one."""
    assert plan.base is not None
    complete = all(is_run(str(job.folder)) for job in plan.jobs)
    return complete and all(next_looks(plan.base, folder, rules) is None for folder in plan.candidates)


def _carry_out(plan: Plan, output: Path, launch: str | None) -> None:
    """Start the process that evaluates; what it could not do, its runs show, or the error here.

    Raises:
        UserError: it failed although all runs are there.
    """
    file = output / JOBS_FILE
    write_plan(plan, file)
    command = [sys.executable, "-m"]
    command += ["accelerate.commands.launch", *shlex.split(launch), "-m"] if launch else []
    try:
        failed = _run([*command, "emt_tasks", INTERNAL, str(file)])
    finally:
        file.unlink(missing_ok=True)
    if failed and all(is_run(str(job.folder)) for job in plan.jobs):
        raise UserError("the evaluation failed (see above); repeat the command to resume")


def probed(role: str, settings: EvaluationSettings, output: Path) -> Measured:
    """Return what places in a model know, measured now unless it has been: a run names the model that it is of.

    Raises:
        UserError: a run does not say which model it is of, or it cannot be measured.
    """
    if is_run(settings.model):
        settings = _model_of(Path(settings.model), settings)
    folder = output / role / PROBES
    there = _is_there(folder, settings, (folder / HEADER).is_file())
    if not there and _run([sys.executable, "-m", "emt_tasks", *probe_arguments(settings, folder)]):
        raise UserError(f"{role}: {settings.peft or settings.model} could not be measured (see above)")
    return read_measured(folder)


def _is_there(
    folder: Path, settings: EvaluationSettings, finished: bool, more: Mapping[str, Any] | None = None
) -> bool:
    """Whether a folder has what these settings, and what `more` says, give; if not, note them there.

    Raises:
        UserError: it has what other settings gave.
    """
    record = folder / SETTINGS_FILE
    wanted = what_decides(settings) | dict(more or {})
    if record.is_file():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found == wanted:
            return finished
        if finished:
            raise UserError(
                f"{folder}: contains a run with other settings ({_difference(found, wanted)}); choose another "
                "--output, or remove that folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    return False


def _run(command: list[str]) -> int:
    """Run a command and return its exit code; its table, which would precede that of the comparison, is no output."""
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def _model_of(run: Path, settings: EvaluationSettings) -> EvaluationSettings:
    """Return the settings with the model of a finished run."""
    found = read_run(run)
    if found.model_kind not in (None, "emt_vlm"):
        raise UserError(f"{run}: this run is of {found.model_kind}, which asks otherwise; give a run of emt eval")
    named = dict(found.named_arguments)
    adapter = named.pop("peft", None)
    model = named.pop("pretrained", adapter)
    if not model:
        raise UserError(f"{run}: this run does not say which model it is of; give the model instead")
    others = ",".join(f"{name}={value}" for name, value in named.items() if name not in ("batch_size", "device"))
    return replace(settings, model=str(model), peft=adapter if model != adapter else None, model_args=others)


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    name = next(name for name in {**wanted, **found} if found.get(name) != wanted.get(name))
    if name == "data":
        return f"the data in ${DATA_VARIABLE} has changed since"
    if name == "weights":
        before = found.get(name) or {}
        changed = [path for path, state in wanted[name].items() if before.get(path) != state]
        return f"the weights in {' and '.join(changed)} have changed since"
    return f"{name} is {found.get(name)!r} there, {wanted.get(name)!r} here"
