"""The `emt` command: mounts the commands of all packages, each imported only when it is called."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import include

PACKAGES = ("emt_core", "judges", "leaderboards", "emt_tasks", "finetune")
"""The import names of this project; other distributions use some of them too."""

FAILED, INTERNAL, INTERRUPTED = 2, 3, 128 + 2
"""Exit codes of a failure, of a fault of our own, and of Ctrl-C, as shells give it: 128 and the number of SIGINT."""

# name: (module, Typer object, one line of help), in the order in which a newcomer needs them. A name of two words is
# a command of the group named by the first word.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("emt_tasks.commands.demo", "demo", "See a small model forget: two minutes, no GPU, no download."),
    "check": ("emt_tasks.commands.check", "check", "Evaluate base and candidate, gate and report: before a release."),
    "doctor": ("emt_tasks.commands.doctor", "doctor", "Check that everything the other commands need is here."),
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
    "diagnose": ("emt_tasks.commands.diagnose", "diagnose", "Say why answers were lost: format, mouth or eye."),
    "rescue": ("emt_tasks.commands.rescue", "rescue", "Find a merge with the base that passes the gate."),
    "probe": ("emt_tasks.commands.probe", "probe", "Measure what the places in one model still know."),
    "finetune": ("emt_tasks.commands.finetune", "finetune", "Fine-tune a model from a recipe."),
    "collapse": (
        "emt_tasks.commands.collapse",
        "collapse",
        "See whether classes that training leaves out collapse.",
    ),
    "merge": ("emt_tasks.commands.finetune", "merge", "Merge an adapter into its model, or a model with its base."),
    "judge": ("emt_tasks.commands.judge", "judge", "Rejudge logged answers, or compare judges."),
    "audit": (
        "emt_tasks.commands.audit",
        "audit",
        "Label some pairs of answers: a gate that a judge's errors cannot turn.",
    ),
    "gate": ("emt_tasks.commands.gate", "gate", "Pass or fail a candidate's run against its base's."),
    "report": ("emt_tasks.commands.report", "report", "Write one HTML file that says what candidates forgot."),
    "view": ("emt_tasks.commands.view", "view", "Look at checks as they run, and at every sample, on a local page."),
    "leaderboard": (
        "emt_tasks.commands.report",
        "leaderboard",
        "Show many runs side by side, with published results.",
    ),
    "export": ("emt_tasks.commands.report", "export", "Export a run's results in the formats in which people publish."),
    "publish": ("emt_tasks.commands.publish", "publish", "Push results, report or leaderboard to the hub."),
}


INTERNAL_COMMANDS: dict[str, tuple[str, str, str]] = {
    "evaluate-jobs": ("emt_tasks.commands.jobs", "app", "Evaluate the models of a check; for emt check alone."),
}
"""What commands start in a process of its own; not listed."""


class LazyGroup(TyperGroup):
    """A group of commands that imports a command's module when the command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return [name for name in COMMANDS if " " not in name]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one command; None if there is no such name."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        return _load(cmd_name) if cmd_name in INTERNAL_COMMANDS or cmd_name in self.list_commands(ctx) else None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the table's lines: help lists every command, and importing them all would load polars and scipy."""
        self.commands = {name: TyperCommand(name, short_help=COMMANDS[name][2]) for name in self.list_commands(ctx)}
        super().format_help(ctx, formatter)


def _load(name: str) -> Any:
    """Import and return a command; a group comes with the commands that other packages add to it."""
    module, attribute, summary = (COMMANDS | INTERNAL_COMMANDS)[name]
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
            help=f"A folder with your own data sets and tasks, for any command; also ${include.VARIABLE}.",
        ),
    ] = None,
    _debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback, for any command.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out what a fine-tuned multimodal LLM forgot.

    New here? "emt demo" shows everything on a small model; "emt doctor" says what a large one still needs.

    Before a release: emt check --base MODEL --candidate MY-MODEL
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, and tells every failure in one line.

    0 all went well; 1 forgetting (`emt gate`, `emt check`) and nothing else; 2 a failure that the user can mend, or no
    decision; 3 an internal error; 130 Ctrl-C. With --debug an error comes with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    stop: BaseException | None = None
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal or a file that cannot hold a character shows its escape
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        include.add(take_option(arguments, "--include"))
        app(args=[word for word in arguments if word != "--debug"], prog_name="emt")
        code = 0
    except SystemExit as end:
        code, stop = _code(end), getattr(end.__context__, "__cause__", None)
    except KeyboardInterrupt as error:
        code, stop = INTERRUPTED, error
    except UserError as error:
        code = _fail(one_line(error), FAILED, debug=debug)
    except BaseException as error:  # noqa: BLE001 - a panic of polars is no Exception
        what = f"internal error: {type(error).__name__}: {one_line(error)}; run again with --debug and report it"
        code = _fail(what, INTERNAL, debug=debug)
    if code == INTERRUPTED:  # typer has caught most of them, and says nothing; a command may say how to resume
        _fail("; ".join(filter(None, ("interrupted", str(stop or "")))), code)
    return code


def _code(end: SystemExit) -> int:
    """Return the exit code: a command's own, which comes as `typer.Exit`; any other end but success is a failure.

    Typer itself exits with 1 where a pipe broke or a question was cut off, and Python where a library gave a text.
    """
    if isinstance(end.__context__, typer.Exit):
        return end.__context__.exit_code
    if isinstance(end.code, str):
        return _fail(end.code, FAILED)
    return FAILED if end.code else 0


def _fail(line: str, code: int, *, debug: bool = False) -> int:
    """Print one line, after the traceback where wanted; returns the code, whether or not stderr takes the line."""
    with suppress(OSError, ValueError):
        if debug:
            traceback.print_exc()
        typer.echo(f"emt: {line}", err=True)
    return code


def take_option(arguments: list[str], option: str) -> list[str]:
    """Remove a repeatable option that every command has from a command line; return its values.

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
    """Import a module of this project, after checking that its import names resolve to our packages.

    Raises:
        UserError: another distribution has installed a package under one of these names.
    """
    ours = Path(__file__).parents[2]
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        file = Path(found.origin) if found and found.origin else None
        if file is None or file.parents[1] != ours:
            raise UserError(
                f"the import name {name!r} is taken by {file}, expected under {ours}; "
                "uninstall the other distribution or use a fresh environment"
            )
    return importlib.import_module(module)


if __name__ == "__main__":
    sys.exit(main())
