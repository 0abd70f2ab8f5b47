"""The `emt` command: mounts the commands of all packages, each imported only when it is called."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import include

PACKAGES = ("emt_core", "judges", "leaderboards", "emt_tasks", "finetune")
"""The import names of this project; other distributions use some of them too."""

INTERRUPTED = 128 + 2
"""The exit code after Ctrl-C, as shells give it: 128 and the number of SIGINT."""

# name: (module, Typer object, one line of help), in the order in which a newcomer meets them. A name of two words is
# a command of the group that the first word names.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("emt_tasks.commands.demo", "demo", "See a small model forget: two minutes, no GPU, no download."),
    "check": ("emt_tasks.commands.check", "check", "Evaluate base and candidate, gate and report: before a release."),
    "doctor": ("emt_tasks.commands.doctor", "doctor", "See whether everything is here that the other commands need."),
    "tasks": ("emt_tasks.commands.tasks", "tasks", "List our tasks and groups."),
    "data": (
        "emt_tasks.commands.data",
        "data",
        "See where the tasks' data comes from; build it from your disk.",
    ),
    "data check": ("emt_tasks.commands.finetune", "check_data", "Prove that training and evaluation share no image."),
    "data to-llava": (
        "emt_tasks.commands.finetune",
        "to_llava",
        "Write training data as LLaVA's JSON with an image folder.",
    ),
    "eval": ("emt_tasks.commands.evaluate", "app", "Evaluate one model on our tasks, through lmms-eval."),
    "finetune": ("emt_tasks.commands.finetune", "finetune", "Fine-tune a model by a recipe."),
    "merge": ("emt_tasks.commands.finetune", "merge", "Merge an adapter into its model, or a model with its base."),
    "judge": ("emt_tasks.commands.judge", "judge", "Judge logged answers again, or compare two judges."),
    "audit": (
        "emt_tasks.commands.audit",
        "audit",
        "Label some pairs of answers: a gate that a judge's errors cannot turn.",
    ),
    "gate": ("emt_tasks.commands.gate", "gate", "Pass or fail a candidate's run against its base's."),
    "report": ("emt_tasks.commands.report", "report", "Write one HTML file that says what candidates forgot."),
    "leaderboard": (
        "emt_tasks.commands.report",
        "leaderboard",
        "Show many runs in one table, beside published results.",
    ),
    "export": ("emt_tasks.commands.report", "export", "Publish a run's results where people look for them."),
}


class LazyGroup(TyperGroup):
    """A group of commands that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return [name for name in COMMANDS if " " not in name]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command; None where there is no such name."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        return _load(cmd_name) if cmd_name in self.list_commands(ctx) else None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the table's lines: help asks for every command, and importing them all would load polars and scipy."""
        self.commands = {name: TyperCommand(name, short_help=COMMANDS[name][2]) for name in self.list_commands(ctx)}
        super().format_help(ctx, formatter)


def _load(name: str) -> Any:
    """Import and return a command; a group comes with the commands that other packages add to it."""
    module, attribute, summary = COMMANDS[name]
    command: Any = get_command(getattr(_import_ours(module), attribute))
    command.name = name.split()[-1]
    command.short_help = summary
    for other in COMMANDS:
        if other.startswith(f"{name} "):
            command.add_command(_load(other), other.split()[-1])
    return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emt-eval {importlib.metadata.version('emt-eval')}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def _root(
    _include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="FOLDER",
            help=f"A folder with data sets and tasks of your own, for any command; also ${include.VARIABLE}.",
        ),
    ] = None,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, of any command.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out what a fine-tuned multimodal LLM forgot.

    New here? "emt demo" shows all of it on a small model; "emt doctor" says what is missing for a large one.

    Before a release: emt check --base MODEL --candidate MY-MODEL
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 2 for a user's mistake, 130 for Ctrl-C, each told in one line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        include.add(take_option(arguments, "--include"))
        code = app(args=[word for word in arguments if word != "--debug"], prog_name="emt")
    except UserError as error:
        if "--debug" in arguments:
            raise
        typer.echo(f"emt: {one_line(error)}", err=True)
        return 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if code == INTERRUPTED:  # typer has caught most of them, and says nothing
        typer.echo("emt: interrupted", err=True)
    return int(code or 0)


def take_option(arguments: list[str], option: str) -> list[str]:
    """Take an option that every command has, and may repeat, out of a command line; return its values.

    Raises:
        UserError: its value is missing.
    """
    values = []
    while found := [place for place, word in enumerate(arguments) if word.partition("=")[0] == option]:
        word = arguments.pop(found[0])
        if "=" not in word and found[0] == len(arguments):
            raise UserError(f"{option}: expected a folder after it")
        values.append(word.partition("=")[2] if "=" in word else arguments.pop(found[0]))
    return values


def _import_ours(module: str) -> Any:
    """Import a module of this project, once all of its import names lead to us.

    Raises:
        UserError: another distribution has installed a package under one of the names.
    """
    ours = Path(__file__).parents[2]
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        file = Path(found.origin) if found and found.origin else None
        if file is None or file.parents[1] != ours:
            raise UserError(
                f"the import name {name!r} is taken by {file}, expected it under {ours}; "
                "uninstall the other distribution or use a fresh environment"
            )
    return importlib.import_module(module)


if __name__ == "__main__":
    sys.exit(main())
