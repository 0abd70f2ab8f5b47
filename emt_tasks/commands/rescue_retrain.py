"""What `emt rescue` leaves where the best merge fails: a recipe for the cheapest training that should not forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_tasks.commands.evaluations import probed
from emt_tasks.models.loading import adapter_config
from emt_tasks.tasks.evaluator import EvaluationSettings, is_adapter_alone

if TYPE_CHECKING:
    from finetune.recipes.schema import Recipe
    from leaderboards.comparison.forgetting import Comparison

RECIPE_FILE = "emt_recipe.yaml"


def retrain(
    before: Comparison,
    wanted: Mapping[str, EvaluationSettings],
    runs: Path,
    learn: str,
    margin: float,
    parts: Sequence[str],
    file: Path,
) -> str:
    """Write a recipe by the candidate's own and by what was lost, and say how to run it.

    Args:
        before: the candidate against its base.
        wanted: the settings of both.
        runs: the folder of their runs, and of what was or will be measured of them.
        learn: the task that the candidate learned.
        margin: the points that another task may lose.
        parts: the parts that fine-tuning changed.
        file: the recipe to write.
    """
    from finetune.rescue.retrain import DATA, Goal, retraining, written

    recipe, known = _recipe(wanted["candidate"], wanted["base"].model, parts)
    cause, found = _cause(before, wanted, runs)
    goal = Goal(learn, tuple(task.task for task in before.tasks), margin, f"{recipe.output}-again")
    changed, cure = retraining(recipe, cause, _training_data(before, learn), goal)
    command = f"emt finetune {file}" + ("" if known else f" {DATA}=TRAIN.json")
    write_text(file, written(changed, cure, found, command), overwrite=True)
    rest = "" if known else f"; the candidate has no {RECIPE_FILE}, so say what it was trained on"
    return f"No merge was found that passes. The cheapest way to train again ({cure.why}{rest}): {command}"


def _recipe(candidate: EvaluationSettings, base: str, parts: Sequence[str]) -> tuple[Recipe, bool]:
    """Return the candidate's own recipe, or one like it that lacks the data, and which of the two it is."""
    from finetune.recipes.files import read
    from finetune.rescue.retrain import assumed

    folder = candidate.peft or candidate.model
    own = Path(folder) / RECIPE_FILE
    if own.is_file():
        try:
            return read(str(own)), True
        except UserError as error:
            typer.echo(f"the candidate's recipe cannot be used: {error}", err=True)
    adapter = candidate.peft or (folder if is_adapter_alone(folder) else None)
    return assumed(base, parts, adapter_config(adapter) if adapter else None), False


def _cause(before: Comparison, wanted: Mapping[str, EvaluationSettings], runs: Path) -> tuple[str, str]:
    """Return what most was lost by, and that in words; `unclear` where it cannot be measured."""
    from leaderboards.comparison.causes import CAUSES, find_causes

    try:
        base, candidate = (probed(role, wanted[role], runs) for role in ("base", "candidate"))
        found = find_causes(before, base, candidate)
    except UserError as error:
        typer.echo(f"why answers were lost cannot be measured: {error}", err=True)
        return "unclear", "Why answers were lost could not be measured."
    points = {cause: sum(one.points(cause) for one in found) for cause in CAUSES}
    total = sum(points.values())
    if not total:
        return "unclear", "No lost answer's cause could be found."
    cause = max(points, key=points.__getitem__)
    return cause, f"Of what the candidate lost, {100 * points[cause] / total:.0f} % is {cause} (see emt diagnose)."


def _training_data(before: Comparison, learn: str) -> list[str]:
    """Return the data sets of the other tasks whose training split is at hand."""
    from emt_tasks.datasets.checks import availability
    from emt_tasks.tasks.registry import dataset_of

    own = dataset_of(learn)
    found = {task.task: dataset_of(task.task) for task in before.tasks if task.task != learn}
    others = dict.fromkeys(dataset for dataset in found.values() if dataset is not None and dataset is not own)
    return [dataset.name for dataset in others if availability(dataset, "train").problem is None]
