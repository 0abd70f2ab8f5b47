"""The `emt` command: mounts the commands of all packages, each imported only when it is called.

The only module that knows all four packages.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from judges import UserError, one_line

# name: (module, Typer object, one line of help). In the order in which a newcomer meets them.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "doctor": ("emt_tasks.doctor", "doctor", "See whether everything is here that the other commands need."),
    "check": ("leaderboards.cli_check", "check", "Evaluate base and candidate, gate and report: before a release."),
    "eval": ("emt_tasks.evaluate", "app", "Evaluate one model on our tasks, through lmms-eval."),
    "tasks": ("emt_tasks.listing", "tasks_app", "List our tasks and groups."),
    "data": ("emt_tasks.listing", "data_app", "See where the tasks' data comes from; build it from your disk."),
    "judge": ("judges.cli", "judge", "Judge logged answers again, or compare two judges."),
    "gate": ("leaderboards.cli", "gate", "Pass or fail a candidate's run against its base's."),
    "report": ("leaderboards.cli_report", "report", "Write one HTML file that says what candidates forgot."),
}


class LazyGroup(TyperGroup):
    """A group of commands that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command; None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, summary = COMMANDS[cmd_name]
        command = get_command(getattr(_import_ours(module), attribute))
        command.name = cmd_name
        command.short_help = summary
        return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def _root(
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Find out what a fine-tuned multimodal LLM forgot.

    Start with: emt tasks list, then: emt eval MODEL --tasks forgetting_matrix_lite -o runs/base
    """
    if version:
        typer.echo(f"emt-eval {importlib.metadata.version('emt-eval')}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 2 for a user's mistake, told in one line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(args=arguments, prog_name="emt")
    except UserError as error:
        if "--debug" in arguments:
            raise
        typer.echo(f"emt: {one_line(error)}", err=True)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return int(code or 0)


def _import_ours(module: str) -> Any:
    """Import a module of this project.

    Raises:
        UserError: another distribution has installed a package under the same name.
    """
    package = importlib.import_module(module.split(".")[0])
    ours = Path(__file__).parents[1]
    if Path(package.__file__ or "").parents[1] != ours:
        raise UserError(
            f"the import name {package.__name__!r} is taken by {package.__file__}, expected it under {ours}; "
            "uninstall the other distribution or use a fresh environment"
        )
    return importlib.import_module(module)


if __name__ == "__main__":
    sys.exit(main())
