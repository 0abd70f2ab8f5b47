"""`emt probe`: what the places in one model know of the images, beside what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emt_core.measured import read_measured
from emt_tasks.commands.options import (
    BatchSizeOption,
    DeviceOption,
    JsonOption,
    LimitOption,
    ModelArgsOption,
    print_rows,
)
from emt_tasks.tasks.evaluator import EvaluationSettings

if TYPE_CHECKING:
    from emt_core.measured import Measured

probe = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@probe.command(name="probe", context_settings={"help_option_names": ["-h", "--help"]})
def probe_command(
    model: Annotated[
        str, typer.Argument(help="A folder or hub name that transformers can load, or an adapter's folder.")
    ],
    tasks: Annotated[str, typer.Option("--task", "--tasks", "-t", help="Tasks and groups, separated by commas.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for what is measured.")],
    peft: Annotated[str | None, typer.Option(help="A PEFT adapter to put on the model.")] = None,
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    limit: LimitOption = None,
    model_args: ModelArgsOption = "",
    probes: Annotated[
        bool, typer.Option(help="Fit probes. Closed sets alone cost half, and are enough if the tower was frozen.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what the places in a model know, for each document of a task that generates answers.

    Closed set: which label or option the model finds likeliest. Probes: what a linear classifier reads from the vision
    tower's output, from what reaches the language model in the image's place, and from its last state before the
    answer. A probe learns from the training split, or, where there is none, from the other documents, in five folds.

    Example: emt probe my-model --task emt_cifar10_lite -o probes/my-model
    """
    # Imported here, since torch and lmms-eval take half a minute, and --help would wait.
    from emt_tasks.diagnosis.measure import measure_model

    names = tuple(tasks.split(","))
    settings = EvaluationSettings(model, names, "emt_vlm", peft, batch_size, device, limit, model_args=model_args)
    measure_model(settings, output, with_probes=probes, overwrite=overwrite)
    print_rows(list(shares(read_measured(output))), as_json)
    typer.echo(f"What was measured is in {output}", err=True)


def shares(measured: Measured) -> Iterator[dict[str, object]]:
    """Yield a row for each task: of how many documents each place knows the right answer, in percent."""
    for task, told in measured.tasks.items():
        rows = list(measured.rows(task).values())
        closed = {kind: _share([row["closed_sets"][kind]["rank"] == 1 for row in rows]) for kind in told["closed_sets"]}
        row: dict[str, object] = {"task": task, "documents": told["documents"]}
        row["closed set"] = ", ".join(f"{share} by {kind}" for kind, share in closed.items()) or None
        for place in ("tower", "projector", "answer"):
            read = [row["probes"][place] == row["shows"] for row in rows if place in row.get("probes", {})]
            row[place] = _share(read)
        yield row


def _share(right: list[bool]) -> str | None:
    return f"{100 * sum(right) / len(right):.1f}" if right else None
