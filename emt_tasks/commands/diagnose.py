"""`emt diagnose`: why a candidate lost what its base could do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emt_core.checks import LOST, RECORD, RUNNING, recording
from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.folders import mark, names_made
from emt_core.runs import read_run
from emt_tasks.commands.coverage import named
from emt_tasks.commands.evaluations import candidate_settings, evaluate_all, is_run, probed, tell_models
from emt_tasks.commands.options import (
    DEFAULT_TASKS,
    AllowDifferentOption,
    BatchSizeOption,
    DeviceOption,
    JsonOption,
    JudgeOption,
    LimitOption,
    MatrixOption,
    ModelArgsOption,
    tell_progress,
)
from emt_tasks.tasks.evaluator import EvaluationSettings
from leaderboards.comparison.matrix import read_matrix

if TYPE_CHECKING:
    from leaderboards.comparison.causes import Causes

MADE_BY = "emt diagnose"

diagnose = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@diagnose.command(name="diagnose", context_settings={"help_option_names": ["-h", "--help"]})
def diagnose_command(
    context: typer.Context,
    base: Annotated[str, typer.Argument(help="The model before fine-tuning: a folder, a hub name, or a finished run.")],
    candidate: Annotated[str, typer.Argument(help="The fine-tuned model, an adapter's folder, or a finished run.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            "-t",
            help=f"Tasks and groups, separated by commas. [default: {DEFAULT_TASKS}; of two runs, what they share]",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for runs, probes and report.")] = Path(
        "emt-diagnose"
    ),
    matrix: MatrixOption = None,
    allow_different: AllowDifferentOption = None,
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    limit: LimitOption = None,
    judge: JudgeOption = None,
    model_args: ModelArgsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say of each task why answers were lost: format, mouth or eye; with what to try, and a report.

    Runs what is missing: both models on the tasks, then their closed sets and probes (see emt probe). The answers that
    were lost, each with its cause, are in lost.jsonl. The exit code is 0 whatever was lost: emt check decides.

    Example: emt diagnose llava-hf/llava-1.5-7b-hf my-adapter --tasks forgetting_matrix_lite
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.comparison.causes import find_causes, lost_rows
    from leaderboards.gate.policy import Policy
    from leaderboards.report.candidates import parse_candidates
    from leaderboards.report.causes import in_a_line, notes
    from leaderboards.report.page import compare_all, write_report

    page = output / "report.html"
    for file in (page, output / LOST):
        if file.exists() and names_made(output, MADE_BY) is None:
            raise UserError(
                f"--output: {file} was not written by {MADE_BY}, so it is not replaced; choose another folder"
            )
    names = tuple(named(tasks) if tasks else _tasks_of(base, candidate))
    more = EvaluationSettings("", names, "emt_vlm", None, batch_size, device, limit, judge, model_args)
    wanted = {"base": replace(more, model=base), "candidate": candidate_settings(candidate, base, more)}
    context.with_resource(recording(output, tell_models(wanted), {}))
    runs = evaluate_all(wanted, output, probe=wanted)
    measured = {role: probed(role, chosen, output) for role, chosen in wanted.items()}
    reference, tested = parse_candidates([str(runs["base"]), str(runs["candidate"])])
    results = compare_all(
        reference,
        [tested],
        policy=Policy(),
        matrix=read_matrix(matrix) if matrix else None,
        allow=allow_different or (),
        progress=tell_progress,
    )
    causes = find_causes(results[0].comparison, measured["base"], measured["candidate"])
    if not causes:
        raise UserError(f"--tasks {','.join(names)}: the runs share no task that was measured")
    output.mkdir(parents=True, exist_ok=True)
    mark(output, MADE_BY, [*wanted, page.name, LOST, RECORD, RUNNING])
    write_text(output / LOST, lost_rows(causes), overwrite=True)
    write_report(reference, [tested], results, page, causes=[causes], overwrite=True)
    for found in causes:
        if as_json:
            typer.echo(json.dumps(_row(found), ensure_ascii=False))
            continue
        typer.echo(in_a_line(found))
        for note in notes(found):
            typer.echo(f"  {note}")
    typer.echo(f"Report written to {page}; each lost answer with its cause: {output / LOST}", err=True)


def _tasks_of(base: str, candidate: str) -> list[str]:
    """Return the tasks that two finished runs share; the default ones for models."""
    from leaderboards.comparison.pairing import shared_tasks

    if not (is_run(base) and is_run(candidate)):
        return [DEFAULT_TASKS]
    return list(shared_tasks(read_run(Path(base)), read_run(Path(candidate))))


def _row(causes: Causes) -> dict[str, Any]:
    """Return a task's causes as a program reads them; shares in percent of the lost documents."""
    recoverable = causes.recoverable
    return {
        "task": causes.task,
        "documents": causes.n,
        "lost": causes.lost,
        "gained": causes.gained,
        "never_known": causes.never,
        "closed_set": causes.closed_by,
        "causes": {cause: share.as_dict() for cause, share in causes.shares.items()},
        "recoverable": recoverable.as_dict() if recoverable else None,
        "calibration_error": [None if one is None else 100 * one.error for one in causes.calibration],
    }
