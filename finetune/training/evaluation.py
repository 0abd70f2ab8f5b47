"""Evaluate a model while it is being trained.

The only module of this package that imports the evaluator. A run folder comes out as
`emt eval` would write it: `…_results.json` and one `…_samples_TASK.jsonl` a task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emt_tasks.tasks.evaluator import EvaluationSettings, check, evaluate_loaded
from finetune.recipes.schema import Evaluate


def check_tasks(settings: Evaluate) -> None:
    """Make sure before training that the tasks exist and that their data can be had; loads no model.

    Raises:
        UserError: one of them does not, or its data is missing.
    """
    if settings.tasks:
        check(settings.tasks)


def evaluate_live(
    model: Any, processor: Any, accelerator: Any, settings: Evaluate, folder: Path, pretrained: str
) -> dict[str, float]:
    """Run the recipe's tasks on a model as it is, and write their results to a run folder.

    The model is left as it was. All processes take part.

    Args:
        model: also one that is wrapped for training.
        processor: of the checkpoint.
        accelerator: of the training run.
        settings: tasks, batch size, and a limit of documents.
        folder: of the run; replaced when it exists.
        pretrained: what the results say was evaluated.

    Returns:
        The accuracy of each task, empty on all processes but the first.
    """
    chosen = EvaluationSettings(pretrained, tuple(settings.tasks), batch_size=settings.batch_size, limit=settings.limit)
    results = evaluate_loaded(model, processor, chosen, folder, accelerator=accelerator)
    scores = results.get("results", {})
    return {task: float(score["accuracy,none"]) for task, score in scores.items() if "accuracy,none" in score}
