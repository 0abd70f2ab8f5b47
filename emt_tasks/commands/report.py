"""`emt report`, `emt leaderboard` and `emt export`: show and publish what a comparison found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.options import (
    AllowDifferentOption,
    AuditOption,
    MarginOption,
    MatrixOption,
    MetricOption,
    PolicyOption,
    choose_policy,
    parse_pairs,
    split_names,
    tell_progress,
)
from emt_tasks.commands.telling import LogOption, SummaryOption, prepare_telling
from leaderboards.comparison.matrix import read_matrix
from leaderboards.report.candidates import parse_candidates

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
report = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)

_HELP = {"help_option_names": ["-h", "--help"]}


@report.command(name="report", context_settings=_HELP)
def report_command(
    base: Annotated[
        Path,
        typer.Argument(
            help="The run of the model before fine-tuning: a folder or its results file; of lmms-eval, another harness "
            "or a table of scores."
        ),
    ],
    candidates: Annotated[
        list[str], typer.Argument(metavar="CANDIDATE...", help="Runs of fine-tuned models, each RUN or RECIPE=RUN.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("report.html"),
    encoder: Annotated[Path | None, typer.Option(help="The run of the zero-shot vision encoder.")] = None,
    margin: MarginOption = None,
    policy: PolicyOption = None,
    tasks: Annotated[str | None, typer.Option(help="Compare only these tasks, separated by commas.")] = None,
    metric: MetricOption = None,
    finetuned_on: Annotated[
        str | None,
        typer.Option(help="The task that the candidates were fine-tuned on: leakage, and the traces' x axis."),
    ] = None,
    matrix: Annotated[Path | None, typer.Option(help="YAML file that assigns tasks to quadrants.")] = None,
    allow_different: AllowDifferentOption = None,
    audit: AuditOption = None,
    flips: Annotated[
        int | None, typer.Option(min=0, help="Flipped samples shown per task and candidate. [default: 200 in all]")
    ] = None,
    summary: SummaryOption = None,
    log: LogOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
) -> None:
    """Write one HTML file that says what the candidates forgot, and opens anywhere, offline.

    Several candidates are traced as the checkpoints of recipes: RECIPE=RUN names a run's recipe; without a name, runs
    in folders that differ only in their last number (lora/checkpoint-100, lora/checkpoint-200) share one.

    Example: emt report runs/base runs/lora/checkpoint-* full=runs/full -o report.html
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.report.page import compare_all, write_report

    if output.exists() and not overwrite:
        raise UserError(f"{output} already exists: choose another file or add --overwrite")
    telling = prepare_telling(summary=summary, annotate=False, junit=None, log=log)
    reference, *parsed = parse_candidates([str(base), *candidates])
    results = compare_all(
        reference,
        parsed,
        policy=choose_policy(margin, policy),
        encoder=read_run(encoder) if encoder else None,
        tasks=split_names(tasks),
        matrix=read_matrix(matrix) if matrix else None,
        metrics=parse_pairs("--metric", "TASK=NAME", metric),
        finetuned_on=finetuned_on,
        allow=allow_different or (),
        audit=audit,
        progress=tell_progress,
    )
    write_report(reference, parsed, results, output, finetuned_on=finetuned_on, flips=flips, overwrite=overwrite)
    told = list(zip(parsed, results, strict=True))
    telling.write(told)
    telling.tell(told, report=output)
    typer.echo(f"Report written to {output}", err=True)


export = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@export.command(name="export", context_settings=_HELP)
def export_command(
    run: Annotated[Path, typer.Argument(help="An lmms-eval output folder, or its results file.")],
    to: Annotated[
        str,
        typer.Option("--to", help="hf-eval-results, model-index, every-eval-ever, openvlm, csv, markdown or latex."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, separated by commas.")] = None,
    metric: MetricOption = None,
    matrix: MatrixOption = None,
    model: Annotated[str | None, typer.Option(help="ORG/NAME: what the model is called on the hub.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="TASK=ORG/NAME: a task's data set on the hub, if the run does not say.")
    ] = None,
    organization: Annotated[str, typer.Option(help="every-eval-ever: who evaluated the model.")] = "unknown",
    relationship: Annotated[
        str, typer.Option(help="every-eval-ever: first_party, third_party, collaborative or other.")
    ] = "other",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write a run in a format in which people publish results; every number keeps its n and its interval.

    Example: emt export runs/candidate --to model-index --model my-org/my-model -o card
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.comparison.summary import summarise
    from leaderboards.exports import ExportSettings
    from leaderboards.exports import export as export_run
    from leaderboards.exports.settings import Relationship

    if relationship not in get_args(Relationship):
        raise UserError(f"--relationship {relationship}: expected one of {', '.join(get_args(Relationship))}")
    if model is not None and not (model.count("/") == 1 and all(model.split("/"))):
        raise UserError(f"--model {model}: expected ORG/NAME")
    summary = summarise(
        read_run(run),
        tasks=split_names(tasks),
        matrix=read_matrix(matrix) if matrix else None,
        metrics=parse_pairs("--metric", "TASK=NAME", metric),
        progress=tell_progress,
    )
    settings = ExportSettings(
        model=model,
        datasets=parse_pairs("--dataset", "TASK=ORG/NAME", dataset),
        organization=organization,
        relationship=cast(Relationship, relationship),
    )
    for file in export_run(summary, to, output, settings, overwrite=overwrite):
        typer.echo(file)


leaderboard = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False, context_settings=_HELP
)


@leaderboard.callback()
def leaderboard_group() -> None:
    """Show many runs side by side, with published results."""


@leaderboard.command(name="build", context_settings=_HELP)
def build_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="lmms-eval runs, each RUN or NAME=RUN.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("site"),
    base: Annotated[
        str | None, typer.Option(help="The model before fine-tuning: each run gets a report against it.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The run of the vision encoder that all are built on: each accuracy gets its gap."),
    ] = None,
    margin: MarginOption = None,
    policy: Annotated[Path | None, typer.Option(help="YAML file with the reports' margins.")] = None,
    metric: MetricOption = None,
    matrix: MatrixOption = None,
    finetuned_on: Annotated[str | None, typer.Option(help="The task whose labels count as leakage.")] = None,
    published: Annotated[bool, typer.Option(help="Show the results that the papers print.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write a static site: for each family of tasks a sortable table of models, with intervals and links to reports.

    Example: emt leaderboard build runs/lora runs/full --base runs/base -o site
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.site.build import build_site

    rules = choose_policy(margin, policy)
    # All together, so that no two runs have the same label.
    named = parse_candidates([*filter(None, [encoder, base]), *runs])
    others = named[-len(runs) :]
    files = build_site(
        others,
        output,
        base=named[-len(runs) - 1] if base else None,
        encoder=named[0] if encoder else None,
        policy=rules,
        matrix=read_matrix(matrix) if matrix else None,
        metrics=parse_pairs("--metric", "TASK=NAME", metric),
        finetuned_on=finetuned_on,
        published=published,
        overwrite=overwrite,
        progress=tell_progress,
    )
    typer.echo(f"{len(files)} files written; open {files[0]}", err=True)
