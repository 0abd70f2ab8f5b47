"""`emt tasks`: which tasks there are."""

from __future__ import annotations

import typer

from emt_tasks.commands.options import JsonOption, print_rows

tasks = typer.Typer(no_args_is_help=True, add_completion=False, help="List our tasks and groups.")


@tasks.command("list")
def list_tasks(as_json: JsonOption = False) -> None:
    """List every task and group, with its data set.

    Example: emt tasks list --json | jq -r .name
    """
    from emt_tasks.tasks import registry

    rows = [
        {
            "name": entry.name,
            "kind": "group" if entry.members else "task",
            "data": entry.source or ", ".join(entry.members),
            "about": entry.summary,
        }
        for entry in sorted(registry.entries().values(), key=lambda entry: (not entry.members, entry.name))
    ]
    print_rows(rows, as_json)


@tasks.command("path")
def path() -> None:
    """Print the folder with the tasks, for lmms-eval's --include_path.

    Example: lmms-eval --include_path "$(emt tasks path)" --tasks emt_cifar10 …
    """
    from emt_tasks.tasks import registry

    typer.echo(str(registry.FOLDER))
