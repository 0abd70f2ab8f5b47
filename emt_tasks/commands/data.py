"""`emt data`: where the tasks' data comes from, downloading it, and building it from disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from emt_core.errors import UserError
from emt_tasks.commands.options import JsonOption, print_rows
from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import DATA_DIR_VARIABLE, Dataset
from emt_tasks.datasets.checks import availability
from emt_tasks.datasets.prepare import preparations, prepare
from emt_tasks.tasks import registry

data = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="See where the tasks' data comes from; download it, or build it from your disk.",
)

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help=f"Where NAME/SPLIT.parquet goes; your own data set's folder, else ${DATA_DIR_VARIABLE}.",
    ),
]


@data.command("list")
def list_data(
    names: Annotated[list[str] | None, typer.Argument(help="Tasks, groups or data sets; by default all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where each task's data would come from and whether it is available.

    Exits with 2 where something is missing. Example: emt data list forgetting_matrix
    """
    found = {name: availability(catalog.get(name)) for name in _source_names(names or [])}
    rows = [
        {
            "data": name,
            "split": entry.split,
            "documents": entry.documents,
            "from": entry.origin,
            "state": "missing" if entry.problem else "there" if entry.at_hand else "on the hub",
            "accept": entry.dataset.accept,
        }
        for name, entry in found.items()
    ]
    print_rows(rows, as_json)
    problems = [entry.problem for entry in found.values() if entry.problem]
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(2)


@data.command("get")
def get_data(
    names: Annotated[list[str], typer.Argument(help="Tasks, groups or data sets.")],
    output: OutputOption = None,
    split: Annotated[str | None, typer.Option(help="Another split than the one that tasks evaluate on.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Download data sets from the hub; one that was cut off resumes, and the number of rows is verified.

    What cannot be had, because its terms were not accepted or it is on no hub, is told, and the others are downloaded.
    Exits with 2 where something is missing.

    Example: emt data get flowers102 ocr_vqa -o ~/emt-data
    """
    # Imported here, since pyarrow is not needed to say which layouts there are.
    from emt_tasks.datasets.download import download

    wanted = [catalog.get(name) for name in _source_names(names)]
    faults = []
    for data_set in wanted:
        try:
            typer.echo(str(download(data_set, _root(output, data_set), split=split, overwrite=overwrite)))
        except UserError as error:
            faults.append(str(error))
    given = os.environ.get(DATA_DIR_VARIABLE)
    if output is not None and (given is None or Path(given).expanduser().resolve() != output.resolve()):
        typer.echo(f"for the tasks to find it: export {DATA_DIR_VARIABLE}={output.resolve()}", err=True)
    for fault in faults[:-1]:
        typer.echo(f"emt: {fault}", err=True)
    if faults:
        raise UserError(faults[-1])


@data.command("prepare", epilog="\n\n".join(f"{name}: {form.expects}." for name, form in preparations().items()))
def prepare_data(
    name: Annotated[str, typer.Argument(help=f"A task or one of: {', '.join(preparations())}.")],
    folder: Annotated[Path, typer.Option("--from", help="The folder or archive with the data set.")],
    output: OutputOption = None,
    split: Annotated[str | None, typer.Option(help="Only this split; by default all that are found.")] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="ImageWikiQA's JSONL, OCR-VQA's dataset.json or ImageNet's devkit, if elsewhere."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out rows whose image is missing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Build a data set's parquet files from your copy on disk; the layouts that each may have are listed below.

    Example: emt data prepare cifar10 --from cifar-10-python.tar.gz -o ~/emt-data
    """
    names = _source_names([name])
    if len(names) > 1:
        raise UserError(f"{name!r} is several data sets: {', '.join(names)}; prepare them one at a time")
    (data_set,) = names
    root = _root(output, catalog.get(data_set))
    for file in prepare(
        data_set, folder, root, split=split, annotations=annotations, allow_missing=allow_missing, overwrite=overwrite
    ):
        typer.echo(str(file))


def _root(output: Path | None, data_set: Dataset) -> Path:
    """Return the folder for a data set's files: the one given, the user's own, or the one that the tasks read."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    root = output or data_set.folder or (Path(given).expanduser() if given else None)
    if root is None:
        raise UserError(f"--output: not given and {DATA_DIR_VARIABLE} is not set; say where the data should go")
    return root


def _source_names(names: list[str]) -> list[str]:
    """The data sets behind these names of tasks, groups or data sets; all of them if no names are given."""
    known = catalog.datasets()
    if not names:
        return list(known)
    found: list[str] = []
    for name in names:
        of_tasks = [task.dataset for task in registry.tasks([name]) if task.dataset]
        if not (of_tasks or name in known):
            raise UserError(f"unknown task, group or data set {name!r}; see: emt tasks list")
        found.extend([name] if name in known else of_tasks)
    return list(dict.fromkeys(found))
