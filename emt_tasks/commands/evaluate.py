"""`emt eval`: one model on our tasks, through lmms-eval."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from emt_core.errors import UserError
from emt_core.measured import check_output
from emt_tasks.commands.coverage import named
from emt_tasks.commands.options import (
    BatchSizeOption,
    DeviceOption,
    JudgeOption,
    LimitOption,
    ModelArgsOption,
    TasksOption,
)
from emt_tasks.datasets import catalog
from emt_tasks.tasks import registry
from emt_tasks.tasks.evaluator import EvaluationSettings, ModelKind
from emt_tasks.tasks.evaluator import evaluate as evaluate_model
from judges.verdict import METRICS

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder or hub name that transformers can load, an adapter's folder, or openai:MODEL@URL."
        ),
    ],
    tasks: TasksOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for results and samples.")],
    peft: Annotated[str | None, typer.Option(help="A PEFT adapter to put on the model.")] = None,
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    limit: LimitOption = None,
    judge: JudgeOption = None,
    model_kind: Annotated[
        ModelKind,
        typer.Option(help="emt_clip: a vision encoder, such as ViT-L-14/openai; openai, vllm, …: what runs the model."),
    ] = "emt_vlm",
    model_args: ModelArgsOption = "",
    cache: Annotated[Path | None, typer.Option(help="Keep answers here, so that a killed run resumes.")] = None,
    probe: Annotated[
        Path | None, typer.Option(help="Also measure what emt probe measures, into this folder; one process only.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder's results.")] = False,
) -> None:
    """Evaluate one model on our tasks, through lmms-eval.

    Example: emt eval llava-hf/llava-1.5-7b-hf --tasks forgetting_matrix_lite -o runs/base

    On several GPUs: accelerate launch -m emt_tasks eval …

    A served model: emt eval openai:my-model@http://localhost:8000/v1 --tasks imagewikiqa_lite -o runs/base
    """
    names = named(tasks)
    names = classifications(names) if model_kind == "emt_clip" else names
    settings = EvaluationSettings(
        model, tuple(names), model_kind, peft, batch_size, device, limit, judge, model_args, cache
    )
    if probe:
        _check_probe(probe, model_kind, overwrite=overwrite)
    results = evaluate_model(settings, output, overwrite=overwrite)
    if probe:
        from emt_tasks.diagnosis.measure import measure_model

        measure_model(settings, probe, overwrite=overwrite)
    if results:
        _print_results(results)
        typer.echo(f"Results and samples are in {output}", err=True)


def _check_probe(folder: Path, model_kind: str, *, overwrite: bool) -> None:
    """Find before the evaluation what would stop a measurement after it."""
    if model_kind != "emt_vlm":
        raise UserError(f"--probe: only a whole model has places to measure, not --model-kind {model_kind}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--probe: one process measures; run emt probe after the evaluation")
    check_output(folder, overwrite=overwrite)


def classifications(names: Sequence[str]) -> list[str]:
    """The tasks among these that an encoder can answer: those with a vocabulary."""
    tasks = registry.tasks(names)
    kept = [task.name for task in tasks if task.dataset and catalog.get(task.dataset).kind == "classification"]
    if not kept:
        raise UserError(f"--tasks {','.join(names)}: an encoder can only classify; none of these has a vocabulary")
    if len(kept) < len(tasks):
        typer.echo(
            f"an encoder can only classify: left out {', '.join(sorted({task.name for task in tasks} - set(kept)))}",
            err=True,
        )
    return kept


def _print_results(results: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for name in ("n", *METRICS):
        table.add_column(name, justify="right")
    for name, scores in results["results"].items():
        effective = results["n-samples"].get(name, {}).get("effective")
        values = [scores.get(f"{metric},none") for metric in METRICS]
        if all(value is None for value in values):
            continue
        shown = ("" if value is None else f"{100 * value:.1f} %" for value in values)
        table.add_row(name, "" if effective is None else str(effective), *shown)
    Console(file=sys.stdout).print(table)
