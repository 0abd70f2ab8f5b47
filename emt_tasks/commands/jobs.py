"""The evaluations of a check, in one process: lmms-eval is imported once, and a base that adapters share loaded once.

`emt check` runs `python -m emt_tasks evaluate-jobs FILE`, also under `accelerate launch`: so it needs neither torch nor
lmms-eval itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from emt_core.errors import UserError, one_line
from emt_core.looks import LOOKS
from emt_tasks.commands.looks import Numbers, Rules, looks_for_all, looks_of, next_looks
from emt_tasks.tasks.evaluator import EvaluationSettings, check
from emt_tasks.tasks.looks import Looks


@dataclass(frozen=True, slots=True)
class Job:
    """A model to evaluate.

    `title` is what is told before, `folder` the run's, `probe` that of what is measured too.
    """

    title: str
    settings: EvaluationSettings
    folder: Path
    probe: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a check: in turn, or look by look if there are `rules` for that, the base's first.

    `base` and `candidates` are the runs' folders that are compared after a look; some may be finished, and have no job.
    """

    jobs: Sequence[Job]
    rules: Rules | None = None
    base: Path | None = None
    candidates: Sequence[Path] = ()


def write_plan(plan: Plan, file: Path) -> None:
    """Write a plan for the process that carries it out."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(plan), default=str, indent=1), encoding="utf-8")


def read_plan(file: Path) -> Plan:
    """Read what `write_plan` has written."""
    content = json.loads(file.read_text(encoding="utf-8"))
    jobs = [
        Job(job["title"], _settings(job["settings"]), Path(job["folder"]), job["probe"] and Path(job["probe"]))
        for job in content["jobs"]
    ]
    rules = content["rules"] and Rules(**content["rules"])
    if rules and rules.matrix:
        rules = replace(rules, matrix={quadrant: tuple(tasks) for quadrant, tasks in rules.matrix.items()})
    base = content["base"] and Path(content["base"])
    return Plan(jobs, rules, base, [Path(folder) for folder in content["candidates"]])


def _settings(found: Mapping[str, Any]) -> EvaluationSettings:
    cache = found["cache"] and Path(found["cache"])
    return EvaluationSettings(**{**found, "tasks": tuple(found["tasks"]), "cache": cache})


app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@app.command(name="evaluate-jobs")
def evaluate_jobs(file: Annotated[Path, typer.Argument(help="The plan, as emt check writes it.")]) -> None:
    """Evaluate the models of a check; for emt check alone."""
    plan = read_plan(file)
    plan = replace(plan, jobs=[replace(job, settings=_answerable(job.settings)) for job in plan.jobs])
    for job in plan.jobs:  # before anything is loaded
        check(job.settings.tasks)
    if plan.rules is None:
        _in_turn(plan.jobs)
    else:
        _look_by_look(plan, plan.rules)


def _in_turn(jobs: Sequence[Job]) -> None:
    from emt_tasks.models.per_image import describe
    from emt_tasks.tasks.several import Models

    models = Models([job.settings for job in jobs])
    for job in jobs:
        _tell(job.title)
        models.evaluate(job.settings, job.folder)
        if job.probe is not None:
            try:
                models.measure(job.settings, job.probe)
            except UserError as error:  # the run is whole without it
                _tell(f"emt: {one_line(error)}")
        if (tower := models.done(job.settings)) is not None:
            _tell(describe(tower, "memory"))


def _look_by_look(plan: Plan, rules: Rules) -> None:
    """Evaluate the first documents of each task, then more of those that are open, until each verdict stands."""
    from emt_tasks.tasks.several import Models

    assert plan.base is not None
    models = Models([job.settings for job in plan.jobs], keep=True)
    jobs = {job.folder: job for job in plan.jobs}
    candidates = [jobs[folder] for folder in plan.candidates if folder in jobs]
    agreed = _Agreement(plan.jobs[0].settings.device)
    while asked := agreed.on(lambda: _asked(plan, rules, candidates)):
        for folder, numbers in asked:
            job = jobs[Path(folder)]
            _tell(f"{job.title}, {_name(numbers)}")
            models.evaluate(job.settings, job.folder, looks=Looks(rules.cap, numbers))
    for job in plan.jobs:
        if job.settings.model_kind == "emt_clip":  # the encoder sees what the base was asked about
            _tell(job.title)
            models.evaluate(job.settings, job.folder, looks=Looks(rules.cap, looks_of(plan.base)))


def _asked(plan: Plan, rules: Rules, candidates: Sequence[Job]) -> list[tuple[str, Numbers]]:
    """Return the runs that need another look, the base's first, and which look each of their tasks gets."""
    assert plan.base is not None
    found = [(job.folder, next_looks(plan.base, job.folder, rules)) for job in candidates]
    wanted = [(str(folder), numbers) for folder, numbers in found if numbers is not None]
    if not wanted or not any(job.folder == plan.base for job in plan.jobs):
        return wanted
    base = looks_for_all(plan.base, [numbers for _, numbers in wanted])
    return wanted if base is None else [(str(plan.base), base), *wanted]


def _name(numbers: Numbers) -> str:
    """Name a look, and the tasks that it is about where it is not about all."""
    furthest = max(numbers.values(), default=1)
    tasks = [task for task, number in numbers.items() if number == furthest]
    return f"look {furthest} of {LOOKS}" + (f" at {', '.join(tasks)}" if len(tasks) < len(numbers) else "")


class _Agreement:
    """What the first of several processes has found, for all of them."""

    def __init__(self, device: str | None) -> None:
        self._several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if self._several:
            from emt_tasks.models.loading import accelerator_for

            accelerator_for(device)

    def on(self, find: Callable[[], Any]) -> Any:
        """Return what `find` finds in the first process, once all are here."""
        if not self._several:
            return find()
        from accelerate.utils import broadcast_object_list

        found = [find() if _is_first() else None]
        broadcast_object_list(found)
        return found[0]


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _tell(line: str) -> None:
    if _is_first():
        typer.echo(line, err=True)


def _answerable(settings: EvaluationSettings) -> EvaluationSettings:
    """Return the settings with the tasks that this kind of model can answer."""
    if settings.model_kind != "emt_clip":
        return settings
    from emt_tasks.commands.evaluate import classifications

    return replace(settings, tasks=tuple(classifications(settings.tasks)))
