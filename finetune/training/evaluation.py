"""Evaluate a model while it is being trained, through lmms-eval in the same process.

The only module of this package that imports lmms-eval's side of `emt_tasks`, and only inside its functions. A run
folder comes out as `emt eval` would write it: `…_results.json` and one `…_samples_TASK.jsonl` a task.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.recipes.schema import Evaluate
from finetune.training.checkpoint import whole_folder


def check_tasks(settings: Evaluate) -> None:
    """Make sure before training that the tasks exist and that their data can be had; loads no model.

    Raises:
        UserError: one of them does not, or its data is missing.
    """
    from emt_tasks.tasks import evaluator as evaluate

    if settings.tasks:
        evaluate.check(settings.tasks)


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
    from lmms_eval import evaluator, utils
    from lmms_eval.loggers import EvaluationTracker
    from lmms_eval.tasks import TaskManager

    from emt_tasks.models.vlm import EmtVLM

    with whole_folder(folder) if accelerator.is_main_process else _nowhere() as partial, _off_stdout():
        lm = EmtVLM.from_model(model, processor, batch_size=settings.batch_size, accelerator=accelerator)
        tracker = EvaluationTracker(output_path=str(partial))
        date = utils.get_datetime_str()
        results = evaluator.simple_evaluate(
            model=lm,
            model_args=f"pretrained={pretrained}",
            tasks=list(settings.tasks),
            limit=settings.limit,
            batch_size=settings.batch_size,
            evaluation_tracker=tracker,
            task_manager=TaskManager("ERROR", model_name="emt_vlm"),
            datetime_str=date,
            verbosity="ERROR",
            distributed_executor_backend="torchrun" if accelerator.num_processes > 1 else "accelerate",
        )
        if results is None:
            return {}
        samples = results.pop("samples")
        # The tracker copies all that it holds into the results: a name, not the model.
        tracker.general_config_tracker.model_source = results["config"]["model"] = "emt_vlm"
        tracker.save_results_aggregated(results=results, samples=samples, datetime_str=date)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
        for file in [file for file in partial.rglob("*") if file.is_file()]:
            file.replace(partial / file.name)
        for empty in [path for path in partial.iterdir() if path.is_dir()]:
            empty.rmdir()
    return {
        task: float(scores["accuracy,none"]) for task, scores in results["results"].items() if "accuracy,none" in scores
    }


@contextmanager
def _nowhere() -> Iterator[Path]:
    """Stands for the folder on processes that write nothing."""
    yield Path()


@contextmanager
def _off_stdout() -> Iterator[None]:
    """Send what lmms-eval prints to standard error: standard output is for results."""
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = out
