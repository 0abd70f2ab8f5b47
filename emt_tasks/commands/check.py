"""`emt check`: the one command before a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emt_core.checks import LOST, RECORD, RUNNING, record_verdicts, recording
from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.folders import mark, names_made
from emt_core.runs import read_run
from emt_tasks.commands.coverage import cover
from emt_tasks.commands.evaluations import candidate_settings, evaluate, is_run, probed, tell_models
from emt_tasks.commands.options import (
    DEFAULT_TASKS,
    AllowDifferentOption,
    BatchSizeOption,
    DeviceOption,
    JudgeOption,
    LimitOption,
    MarginOption,
    MatrixOption,
    MetricOption,
    ModelArgsOption,
    PolicyOption,
    choose_policy,
    parse_pairs,
    tell_progress,
)
from emt_tasks.commands.planning import plan_tasks, tell_plan
from emt_tasks.models import engines
from emt_tasks.tasks.evaluator import EvaluationSettings, ModelKind
from emt_tasks.tasks.sizes import sizes
from leaderboards.comparison.causes import Causes, find_causes, lost_rows
from leaderboards.comparison.forgetting import Comparison
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.output import as_json, print_table
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import parse_candidates
from leaderboards.report.causes import in_a_line
from leaderboards.report.page import compare_all, write_report

MADE_BY = "emt check"

SIDES = ("base", "candidate")

SECONDS = 6.0
"""For saying beforehand what can be decided."""

check = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@check.command(name="check", context_settings={"help_option_names": ["-h", "--help"]})
def check_command(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Option(
            help="The model before fine-tuning: a folder, a hub name, a finished run, or a server's openai:MODEL@URL."
        ),
    ],
    candidate: Annotated[str, typer.Option(help="The fine-tuned model; may be an adapter's folder.")],
    encoder: Annotated[
        str | None,
        typer.Option(help="The vision encoder: ViT-L-14/openai, a CLIP or SigLIP folder, or auto."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            "-t",
            help="Tasks and groups, separated by commas; auto: those of the matrix whose data can be had. "
            f"[default: the same, and a pass needs all of {DEFAULT_TASKS}; of a finished base, its tasks]",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for runs, cache and report.")] = Path(
        "emt-check"
    ),
    margin: MarginOption = None,
    policy: PolicyOption = None,
    finetuned_on: Annotated[str | None, typer.Option(help="The task whose labels count as leakage.")] = None,
    matrix: MatrixOption = None,
    metric: MetricOption = None,
    allow_different: AllowDifferentOption = None,
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    limit: LimitOption = None,
    judge: JudgeOption = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Also say why answers were lost: format, mouth or eye.")
    ] = False,
    model_kind: Annotated[
        ModelKind, typer.Option(help="What runs base and candidate: openai, litellm, vllm or sglang.")
    ] = "emt_vlm",
    model_args: ModelArgsOption = "",
    launch: Annotated[
        str | None, typer.Option(help="Evaluate with accelerate launch and these arguments: '--num_processes 8'.")
    ] = None,
) -> None:
    """Evaluate base and candidate, compare them sample by sample, write a report, pass or fail.

    Exit code 0: not inferior. 1: forgetting beyond the margin. 2: not enough evidence, runs that are not alike, or
    broken input. 3: an internal error; no verdict either. Finished runs are used again, and a check that was killed
    resumes.

    Example: emt check --base llava-hf/llava-1.5-7b-hf --candidate my-adapter
    """
    rules = choose_policy(margin, policy)
    page = output / "report.html"
    for file in (page, output / LOST):
        if file.exists() and names_made(output, MADE_BY) is None:
            raise UserError(
                f"--output: {file} was not written by {MADE_BY}, so it is not replaced; choose another folder"
            )
    covered = cover(tasks, base)
    names, rules = covered.names, covered.demand(rules)
    quadrants = read_matrix(matrix) if matrix else None
    metrics = parse_pairs("--metric", "TASK=NAME", metric)

    alike = EvaluationSettings(base, names, model_kind, None, batch_size, device, limit, judge, model_args=model_args)
    wanted = {"base": alike, "candidate": candidate_settings(candidate, base, alike)}
    if encoder:
        encoder = f"auto:{base}" if encoder == "auto" else encoder
        wanted["encoder"] = EvaluationSettings(encoder, names, "emt_clip", None, batch_size, device, limit, judge)
    if not all(is_run(settings.model) for settings in wanted.values()):
        _say_what_can_be_decided(names, limit, quadrants, rules)
    # Until the command ends, it says in the folder what it is about: emt view shows it.
    context.with_resource(recording(output, tell_models(wanted), _documents(names, limit)))
    runs = {}
    for number, (role, chosen) in enumerate(wanted.items(), start=1):
        typer.echo(f"[{number}/{len(wanted)}] {role}: {chosen.peft or chosen.model}", err=True)
        runs[role] = evaluate(role, chosen, output, launch=launch, probe=diagnose and role != "encoder")
    reference, tested = parse_candidates([str(runs["base"]), str(runs["candidate"])])
    results = compare_all(
        reference,
        [tested],
        policy=rules,
        encoder=read_run(runs["encoder"]) if encoder else None,
        matrix=quadrants,
        metrics=metrics,
        finetuned_on=finetuned_on,
        allow=allow_different or (),
        progress=tell_progress,
    )
    results = covered.note(results)
    record_verdicts(output, {"candidate": json.loads(as_json(results[0]))})
    causes = _diagnosed(results[0].comparison, wanted, output) if diagnose else ()
    output.mkdir(parents=True, exist_ok=True)
    mark(output, MADE_BY, [*wanted, page.name, RECORD, RUNNING, *([LOST] if causes else [])])
    if causes:
        write_text(output / LOST, lost_rows(causes), overwrite=True)
    write_report(
        reference,
        [tested],
        results,
        page,
        finetuned_on=finetuned_on,
        causes=[causes] if diagnose else (),
        overwrite=True,
    )
    print_table(results[0], Console())
    for found in causes:
        typer.echo(in_a_line(found))
    typer.echo(f"Report written to {page}", err=True)
    have_weights = not any(is_run(model) or engines.read(model, model_kind) for model in (base, candidate))
    if results[0].outcome == "forgetting" and have_weights:
        command = f"emt rescue {base} {candidate} --learn {finetuned_on or 'TASK'} --tasks {','.join(names)}"
        typer.echo(f"To look for a merge that passes: {command}", err=True)
    raise typer.Exit(results[0].exit_code)


def _documents(names: tuple[str, ...], limit: int | None) -> dict[str, int]:
    """Return how many documents each of our tasks asks; of others it is known once they have been run."""
    return {task.task: int(task.clusters.sum()) for task in sizes(names, limit)}


def _diagnosed(comparison: Comparison, wanted: Mapping[str, EvaluationSettings], output: Path) -> tuple[Causes, ...]:
    """Return why answers were lost; where that cannot be measured, say so, since the verdict stands without it."""
    compared = tuple(task.task for task in comparison.tasks)
    try:
        measured = [
            probed(role, replace(wanted[role], tasks=compared) if is_run(wanted[role].model) else wanted[role], output)
            for role in SIDES
        ]
        causes = find_causes(comparison, *measured)
    except UserError as error:
        typer.echo(f"--diagnose: {error}", err=True)
        return ()
    if not causes:
        typer.echo("--diagnose: none of the tasks could be measured", err=True)
    return causes


def _say_what_can_be_decided(
    names: tuple[str, ...], limit: int | None, matrix: dict[str, tuple[str, ...]] | None, policy: Policy
) -> None:
    try:
        planned = plan_tasks(names, limit, matrix)
    except UserError:
        return  # others' tasks: how many documents they have is known once they have been run
    typer.echo(tell_plan(planned, policy, seconds=SECONDS), err=True)
