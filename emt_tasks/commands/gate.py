"""`emt gate`: pass or fail a candidate against its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.runs import read_run
from emt_tasks.commands.options import (
    AllowDifferentOption,
    MetricOption,
    choose_policy,
    parse_pairs,
    split_names,
    tell_progress,
)
from leaderboards.comparison.matrix import read_matrix

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
gate = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@gate.command(name="gate", context_settings={"help_option_names": ["-h", "--help"]})
def gate_command(
    base: Annotated[
        Path, typer.Argument(help="The run of the model before fine-tuning: a folder or its results file.")
    ],
    candidate: Annotated[Path, typer.Argument(help="The run of the model after fine-tuning.")],
    margin: Annotated[
        float | None, typer.Option(help="Percentage points that a task or quadrant may lose. [default: 2.0]")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="YAML file with margins per task and quadrant.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="The run of the zero-shot vision encoder.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Compare only these tasks, separated by commas.")] = None,
    metric: MetricOption = None,
    finetuned_on: Annotated[str | None, typer.Option(help="The task whose labels count as leakage.")] = None,
    matrix: Annotated[Path | None, typer.Option(help="YAML file that assigns tasks to quadrants.")] = None,
    allow_different: AllowDifferentOption = None,
    audit: Annotated[
        Path | None, typer.Option(help="A labelled file of emt audit sample: its tasks' drops rest on the labels.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the result as JUnit XML too.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing JUnit file.")] = False,
) -> None:
    """Pass or fail a candidate against its base, sample by sample.

    Exit code 0: not inferior. 1: forgetting beyond the margin. 2: not enough evidence, runs that
    are not alike, or broken input. 3: an internal error; no verdict either.

    Example: emt gate runs/base runs/candidate --margin 2.0 --junit gate.xml
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from rich.console import Console

    from leaderboards.audit.rows import read_audit
    from leaderboards.audit.using import apply
    from leaderboards.comparison.forgetting import compare
    from leaderboards.gate.decide import decide
    from leaderboards.gate.output import as_json, as_junit, print_table

    rules = choose_policy(margin, policy)
    if junit and junit.exists() and not overwrite:
        raise UserError(f"--junit {junit} already exists: choose another file or add --overwrite")
    chosen = split_names(tasks)
    comparison = compare(
        read_run(base),
        read_run(candidate),
        encoder=read_run(encoder) if encoder else None,
        tasks=chosen,
        matrix=read_matrix(matrix) if matrix else None,
        metrics=parse_pairs("--metric", "TASK=NAME", metric),
        finetuned_on=finetuned_on,
        allow=allow_different or (),
        progress=tell_progress,
    )
    if audit is not None:
        comparison = apply(comparison, read_audit(audit), audit)
    result = decide(comparison, rules, tasks=chosen)
    if junit:
        write_text(junit, as_junit(result), overwrite=overwrite)
    if json:
        typer.echo(as_json(result))
    else:
        print_table(result, Console())
    raise typer.Exit(result.exit_code)
