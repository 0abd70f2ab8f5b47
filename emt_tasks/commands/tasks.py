"""`emt tasks`: list the tasks, and make one for your own data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_tasks.commands.options import JsonOption, print_rows
from emt_tasks.datasets import catalog, include
from emt_tasks.tasks import registry
from emt_tasks.tasks.registry.template import task_yaml
from leaderboards.comparison.matrix import QUADRANTS

tasks = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List tasks and groups; make one for your own data."
)


@tasks.command("list")
def list_tasks(as_json: JsonOption = False) -> None:
    """List every task and group, with its data set.

    Example: emt tasks list --json | jq -r .name
    """
    rows = [
        {
            "name": entry.name,
            "kind": "group" if entry.members else "task",
            "data": entry.dataset or ", ".join(entry.members),
            "about": entry.summary,
        }
        for entry in sorted(registry.entries().values(), key=lambda entry: (not entry.members, entry.name))
    ]
    print_rows(rows, as_json)


@tasks.command("new", no_args_is_help=True)
def new(
    data: Annotated[str, typer.Argument(help="A data set in your datasets.yaml.")],
    name: Annotated[str | None, typer.Option(help="The task's name; by default the data set's.")] = None,
    ask: Annotated[
        str | None, typer.Option(help="The question about each image; {{column}} stands for a value.")
    ] = None,
    quadrant: Annotated[str | None, typer.Option(help=f"Its place in the matrix: {', '.join(QUADRANTS)}.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; by default beside datasets.yaml.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a task for your own data, as an lmms-eval YAML file for you to change.

    Example: emt tasks new birds --include mine --ask "Which bird is this?" --quadrant idt_idi
    """
    dataset = catalog.get(data)
    task = name or data
    if quadrant is not None and quadrant not in QUADRANTS:
        raise UserError(f"--quadrant {quadrant}: expected one of {', '.join(QUADRANTS)}")
    if output is None and dataset.folder is None:
        raise UserError(f"{data} is not one of your own data sets; give --output for its task")
    file = output or (dataset.folder or Path()) / f"{task}.yaml"
    taken = registry.entries().get(task)
    if taken and taken.file != file.resolve():
        raise UserError(f"task {task!r} is already in {taken.file}; choose another --name")
    write_text(file, task_yaml(dataset, task, ask, quadrant), overwrite=overwrite)
    include.add([])  # what this process has read of the folder is out of date
    typer.echo(str(file))


@tasks.command("path")
def path() -> None:
    """Print the folder with our tasks, for lmms-eval's --include_path.

    Example: lmms-eval --include_path "$(emt tasks path)" --tasks emt_cifar10 …
    """
    typer.echo(str(registry.FOLDER))
