"""`emt check`: the one command before a release."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from emt_core.checks import LOST, RECORD, RUNNING, record_verdicts, recording
from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.folders import mark, names_made
from emt_core.looks import LOOKS
from emt_core.public_names import digest
from emt_core.runs import read_run
from emt_tasks.commands.coverage import cover
from emt_tasks.commands.evaluations import candidate_settings, evaluate_all, is_run, probed, tell_models
from emt_tasks.commands.looks import CAP, Rules, check_cap
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
    Spread,
    choose_policy,
    parse_pairs,
    tell_progress,
)
from emt_tasks.commands.planning import plan_tasks, tell_plan
from emt_tasks.commands.telling import AnnotateOption, LogOption, SummaryOption, prepare_telling
from emt_tasks.models import engines
from emt_tasks.tasks.evaluator import EvaluationSettings, ModelKind
from emt_tasks.tasks.sizes import sizes
from leaderboards.comparison.causes import Causes, find_causes, lost_rows
from leaderboards.comparison.forgetting import Comparison
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.decide import EXIT_CODES, GateResult, overall
from leaderboards.gate.output import as_json, print_table
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import Candidate, parse_candidates, split_name
from leaderboards.report.causes import in_a_line
from leaderboards.report.page import compare_all, write_report
from leaderboards.report.verdict import describe, print_verdicts

MADE_BY = "emt check"

SECONDS = 6.0
"""For saying beforehand what can be decided."""

check = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@check.command(name="check", cls=Spread, context_settings={"help_option_names": ["-h", "--help"]})
def check_command(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Option(
            help="The model before fine-tuning: a folder, a hub name, a finished run, or a server's openai:MODEL@URL."
        ),
    ],
    candidate: Annotated[
        list[str],
        typer.Option(
            metavar="CANDIDATE...",
            help="The fine-tuned model; may be an adapter's folder. Several in a row, each also NAME=MODEL.",
        ),
    ],
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
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Ask in random order, in ten parts, and end once the verdict stands.")
    ] = False,
    cap: Annotated[
        int | None, typer.Option(min=LOOKS, help=f"With --sequential: documents a task at most. [default: {CAP}]")
    ] = None,
    judge: JudgeOption = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Also say why answers were lost: format, mouth or eye.")
    ] = False,
    summary: SummaryOption = None,
    annotate: AnnotateOption = False,
    log: LogOption = None,
    model_kind: Annotated[
        ModelKind, typer.Option(help="What runs base and candidate: openai, litellm, vllm or sglang.")
    ] = "emt_vlm",
    model_args: ModelArgsOption = "",
    launch: Annotated[
        str | None, typer.Option(help="Evaluate with accelerate launch and these arguments: '--num_processes 8'.")
    ] = None,
) -> None:
    """Evaluate base and candidates, compare them sample by sample, write a report, pass or fail.

    Exit code 0: not inferior. 1: forgetting beyond the margin. 2: not enough evidence, runs that are not alike, or
    broken input. 3: an internal error; no verdict either. Of several candidates the worst counts. Finished runs are
    used again, and a check that was killed resumes.

    Example: emt check --base llava-hf/llava-1.5-7b-hf --candidate my-adapter

    Three adapters, with the base loaded once: emt check --base MODEL --candidate rank8 rank32 rank128
    """
    rules = choose_policy(margin, policy)
    page, junit = output / "report.html", output / "gate.xml"
    for file in (page, junit, output / LOST):
        if file.exists() and names_made(output, MADE_BY) is None:
            raise UserError(
                f"--output: {file} was not written by {MADE_BY}, so it is not replaced; choose another folder"
            )
    telling = prepare_telling(summary=summary, annotate=annotate, junit=junit, log=log)
    covered = cover(tasks, base)
    names, rules = covered.names, covered.demand(rules)
    quadrants = read_matrix(matrix) if matrix else None
    metrics = parse_pairs("--metric", "TASK=NAME", metric)
    looks = None
    if sequential or cap is not None:
        _check_sequential(sequential=sequential, limit=limit, diagnose=diagnose, cap=cap or CAP, names=names)
        dumped = rules.model_dump(mode="json", exclude_unset=True)
        looks = Rules(cap or CAP, dumped, quadrants, metrics, tuple(allow_different or ()))

    alike = EvaluationSettings(base, names, model_kind, None, batch_size, device, limit, judge, model_args=model_args)
    tested = _by_role(candidate)
    wanted = {"base": alike} | {role: candidate_settings(model, base, alike) for role, model in tested.items()}
    if encoder:
        encoder = f"auto:{base}" if encoder == "auto" else encoder
        wanted["encoder"] = EvaluationSettings(encoder, names, "emt_clip", None, batch_size, device, limit, judge)
    if not all(is_run(settings.model) for settings in wanted.values()):
        _say_what_can_be_decided(names, limit, quadrants, rules, looks.cap if looks else None)
    # Until the command ends, it says in the folder what it is about: emt view shows it.
    documents = _documents(names, limit if looks is None else looks.cap)
    context.with_resource(recording(output, tell_models(wanted), documents))
    probe = ("base", *tested) if diagnose else ()
    runs = evaluate_all(wanted, output, launch=launch, probe=probe, rules=looks)
    reference, *found = _as_named(runs, base, candidate)
    results = compare_all(
        reference,
        found,
        policy=rules,
        encoder=read_run(runs["encoder"]) if encoder else None,
        matrix=quadrants,
        metrics=metrics,
        finetuned_on=finetuned_on,
        allow=allow_different or (),
        progress=tell_progress,
    )
    results = covered.note(results)
    verdicts = {role: json.loads(as_json(result)) for role, result in zip(tested, results, strict=True)}
    record_verdicts(output, verdicts)
    causes = [
        _diagnosed(result.comparison, role, wanted, output) if diagnose else ()
        for role, result in zip(tested, results, strict=True)
    ]
    output.mkdir(parents=True, exist_ok=True)
    made = [page.name, junit.name, RECORD, RUNNING, LOST]
    mark(output, MADE_BY, [*{role.split("/")[0] for role in wanted}, *made])
    for role, lost in zip(tested, causes, strict=True):
        if lost:
            place = output if len(tested) == 1 else output / role
            write_text(place / LOST, lost_rows(lost), overwrite=True)
    write_report(
        reference,
        found,
        results,
        page,
        finetuned_on=finetuned_on,
        causes=causes if diagnose else (),
        overwrite=True,
    )
    told = list(zip(found, results, strict=True))
    telling.write(told)
    _print(reference, found, results, causes)
    telling.tell(told, report=page)
    typer.echo(f"Report written to {page}", err=True)
    given = {"--matrix": matrix, "--margin": margin, "--policy": policy, "--judge": judge, "--model-args": model_args}
    if len(tested) == 1 and limit is None and looks is None:  # whole runs, where a rescue looks for them
        given["--runs"] = output
    for model, result in zip(tested.values(), results, strict=True):
        have_weights = not any(is_run(one) or engines.read(one, model_kind) for one in (base, model))
        if result.outcome == "forgetting" and have_weights:
            command = rescue_line(base, model, finetuned_on, names, given)
            typer.echo(f"To look for a merge that passes: {command}", err=True)
    raise typer.Exit(EXIT_CODES[overall(result.outcome for result in results)])


def _documents(names: tuple[str, ...], limit: int | None) -> dict[str, int]:
    """Return how many documents each of our tasks asks; of others it is known once they have been run."""
    return {task.task: int(task.clusters.sum()) for task in sizes(names, limit)}


def rescue_line(
    base: str, candidate: str, learned: str | None, tasks: tuple[str, ...], given: Mapping[str, object]
) -> str:
    """Return the command that looks for a merge by the same rules, with those options that have a value."""
    words = ["emt", "rescue", base, candidate, "--learn", learned or "TASK", "--tasks", ",".join(tasks)]
    named = ((name, str(value)) for name, value in given.items() if value not in (None, ""))
    return shlex.join([*words, *(word for option in named for word in option)])


def _check_sequential(*, sequential: bool, limit: int | None, diagnose: bool, cap: int, names: tuple[str, ...]) -> None:
    """Refuse what does not go with a check that may end early.

    Raises:
        UserError: says what to give instead.
    """
    if not sequential:
        raise UserError(f"--cap {cap}: it is for a check that may end early; add --sequential, or use --limit")
    if limit is not None:
        raise UserError("--limit and --sequential exclude each other: --cap limits a sequential check")
    if diagnose:
        raise UserError("--diagnose asks about all documents, which --sequential saves: use emt diagnose afterwards")
    check_cap(cap, names)


def _by_role(candidates: Sequence[str]) -> dict[str, str]:
    """Return each candidate's model by its role, which is its run's folder: of several, the same whatever the others.

    Raises:
        UserError: the same model is given twice.
    """
    models = [split_name(candidate)[1] for candidate in candidates]
    if (twice := Counter(models).most_common(1)[0])[1] > 1:
        raise UserError(f"--candidate {twice[0]}: given twice")
    if len(models) == 1:
        return {"candidate": models[0]}
    labels = [parse_candidates([model])[0].label for model in models]
    readable = [re.sub(r"[^\w.-]+", "-", label).strip(".-") for label in labels]
    return {f"candidates/{name}-{digest(model)[:6]}": model for name, model in zip(readable, models, strict=True)}


def _as_named(runs: Mapping[str, Path], base: str, candidates: Sequence[str]) -> list[Candidate]:
    """Return the runs of the base and the candidates as the report names them: several after their models."""
    paths = [path for role, path in runs.items() if role != "encoder"]
    if len(candidates) == 1:
        return parse_candidates(list(map(str, paths)))
    named = parse_candidates([base, *candidates])
    return [replace(one, path=path) for one, path in zip(named, paths, strict=True)]


def _print(
    base: Candidate, candidates: Sequence[Candidate], results: Sequence[GateResult], causes: Sequence[Sequence[Causes]]
) -> None:
    """Print each candidate's table and causes; of several their verdicts at the end."""
    console = Console()
    for candidate, result, found in zip(candidates, results, causes, strict=True):
        if len(candidates) > 1:
            console.print(f"{candidate.label}:", style="bold", markup=False, highlight=False)
        print_table(result, console)
        for one in found:
            typer.echo(in_a_line(one))
        if len(candidates) > 1:
            console.print()
    if len(candidates) > 1:
        told = [describe(result, one.label, base.label) for one, result in zip(candidates, results, strict=True)]
        print_verdicts([(one.label, text) for one, text in zip(candidates, told, strict=True)], console)


def _diagnosed(
    comparison: Comparison, candidate: str, wanted: Mapping[str, EvaluationSettings], output: Path
) -> tuple[Causes, ...]:
    """Return why answers were lost; where that cannot be measured, say so, since the verdict stands without it."""
    compared = tuple(task.task for task in comparison.tasks)
    try:
        measured = [
            probed(role, replace(wanted[role], tasks=compared) if is_run(wanted[role].model) else wanted[role], output)
            for role in ("base", candidate)
        ]
        causes = find_causes(comparison, *measured)
    except UserError as error:
        typer.echo(f"--diagnose: {error}", err=True)
        return ()
    if not causes:
        typer.echo("--diagnose: none of the tasks could be measured", err=True)
    return causes


def _say_what_can_be_decided(
    names: tuple[str, ...],
    limit: int | None,
    matrix: dict[str, tuple[str, ...]] | None,
    policy: Policy,
    cap: int | None,
) -> None:
    try:
        planned = plan_tasks(names, limit, matrix)
    except UserError:
        return  # others' tasks: how many documents they have is known once they have been run
    typer.echo(tell_plan(planned, policy, seconds=SECONDS, cap=cap), err=True)
