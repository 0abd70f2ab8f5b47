"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from emt_core.errors import UserError
from emt_tasks.models.loading import AUTO
from leaderboards.gate.policy import DEFAULT_FAILS_ABOVE, DEFAULT_MARGIN, Policy, read_policy


class Spread(TyperCommand):
    """A command whose option `--candidate` takes all words up to the next option, as if it were before each of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        return super().parse_args(ctx, spread(args, "--candidate"))


def spread(words: Sequence[str], option: str) -> list[str]:
    """Put an option before each word that follows its value, up to the next option."""
    found: list[str] = []
    taking = has_value = False
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        if word.startswith("-"):
            name, given, _ = word.partition("=")
            taking, has_value = name == option, bool(given)
        elif taking:
            found += [option] if has_value else []
            has_value = True
        found.append(word)
    return found


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")]

DEFAULT_TASKS = "forgetting_matrix_lite"
"""What `emt check` evaluates unless told otherwise."""

MarginOption = Annotated[
    str | None,
    typer.Option(
        help="What a task or quadrant may lose: percentage points, or the metric's own unit where it does not go "
        "from 0 to 1; or 5%, of the base's score. "
        f"[default: {DEFAULT_MARGIN:g}, and up to {DEFAULT_FAILS_ABOVE:g} fails nobody]"
    ),
]

MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        help="TASK=NAME: compare a task by another metric; NAME:lower where lower is better; NAME:0..10 for its range."
    ),
]

AllowDifferentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-different",
        metavar="NAME",
        help="Accept that the runs differ in this, as the gate names it; repeatable.",
    ),
]


TasksOption = Annotated[
    str,
    typer.Option(
        "--tasks", "-t", help="Tasks and groups, separated by commas; auto: those of the matrix whose data can be had."
    ),
]

PolicyOption = Annotated[Path | None, typer.Option(help="YAML file with margins per task and quadrant.")]

MatrixOption = Annotated[Path | None, typer.Option(help="YAML file that puts tasks into the quadrants.")]


def parse_batch_size(asked: str | int) -> str | int:
    """Return a number of images, or `auto`.

    Raises:
        UserError: it is neither.
    """
    if str(asked) != AUTO and not (str(asked).isdecimal() and int(asked) > 0):
        raise UserError(f"--batch-size {asked}: expected a number of images, or {AUTO}")
    return AUTO if str(asked) == AUTO else int(asked)


BatchSizeOption = Annotated[
    Any,
    typer.Option(
        "--batch-size",
        "-b",
        parser=parse_batch_size,
        metavar="<int|auto>",
        help=f"Images at a time; {AUTO}: as many as memory has room for.",
    ),
]

DeviceOption = Annotated[str | None, typer.Option(help="cuda, cuda:1, cpu, …; chosen for you if left out.")]

JudgeOption = Annotated[str | None, typer.Option(help="The judge to use; by default $EMT_JUDGE, else fuzzy.")]

ModelArgsOption = Annotated[str, typer.Option(help="More model arguments: dtype=bfloat16,…")]

LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first documents of each task: a trial run.")]

AuditOption = Annotated[
    Path | None, typer.Option(help="A labelled file of emt audit sample: its tasks' drops rest on the labels.")
]


def choose_policy(margin: str | None, policy: Path | None) -> Policy:
    """Return the policy of `--margin` or `--policy`, or the default one.

    Raises:
        UserError: both are given, the margin is out of range or the file is invalid.
    """
    if margin is not None and policy is not None:
        raise UserError("--margin and --policy exclude each other: put the margin in the policy file")
    if policy is not None:
        return read_policy(policy)
    if margin is None:
        return Policy()
    try:
        return Policy(margin=margin)
    except ValueError as error:
        raise UserError(f"--margin {margin}: expected a number from 0 on, or less than 100 %, such as 5%") from error


def split_names(names: str | None) -> list[str] | None:
    """Return the tasks that `--tasks` names, separated by commas; None where it was not given.

    Raises:
        UserError: it names none.
    """
    if names is None:
        return None
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise UserError(f"--tasks {names!r}: expected names of tasks, separated by commas")
    return found


def parse_pairs(option: str, expected: str, items: list[str] | None) -> dict[str, str]:
    """Return the pairs of an option such as `--metric TASK=NAME` that may be repeated.

    Raises:
        UserError: one of them is not a pair.
    """
    pairs = {}
    for item in items or ():
        key, separator, value = item.partition("=")
        if not (key and separator and value):
            raise UserError(f"{option} {item}: expected {expected}")
        pairs[key] = value
    return pairs


def tell_progress(task: str) -> None:
    """Say on a terminal what is being read."""
    if sys.stderr.isatty():
        sys.stderr.write(f"reading {task}\n")


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of equal keys as a table, or as JSON lines for a program to read."""
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    # Imported here, since --help does not need rich.
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold", justify="right" if key == "documents" else "left")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table, markup=False)
