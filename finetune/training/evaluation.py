"""Evaluate a model during training.

The only module of this package that imports the evaluator. It writes a run folder
like `emt eval`: `…_results.json` and one `…_samples_TASK.jsonl` per task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emt_tasks.tasks.evaluator import EvaluationSettings, check, evaluate_loaded
from finetune.recipes.schema import Evaluate


def check_tasks(settings: Evaluate) -> None:
    """Make sure before training that the tasks exist and that their data is available; load no model.

    Raises:
        UserError: a task does not exist, or its data is missing.
    """
    if settings.tasks:
        check(settings.tasks)


def evaluate_live(
    model: Any, processor: Any, accelerator: Any, settings: Evaluate, folder: Path, pretrained: str
) -> dict[str, float]:
    """Run the recipe's tasks on a model in its current state, and write the results to a run folder.

    The model is left as it was. All processes must call this.

    Args:
        model: may be wrapped for training.
        processor: the checkpoint's.
        accelerator: the training run's.
        settings: tasks, batch size, and a limit of documents.
        folder: the run's; replaced if it exists.
        pretrained: the model's name in the results.

    Returns:
        The accuracy of each task; empty except on the first process.
    """
    chosen = EvaluationSettings(pretrained, tuple(settings.tasks), batch_size=settings.batch_size, limit=settings.limit)
    results = evaluate_loaded(model, processor, chosen, folder, accelerator=accelerator)
    scores = results.get("results", {})
    return {task: float(score["accuracy,none"]) for task, score in scores.items() if "accuracy,none" in score}
