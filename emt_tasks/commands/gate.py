"""`emt gate`: pass or fail a candidate against its base."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.options import (
    DEFAULT_TASKS,
    AllowDifferentOption,
    AuditOption,
    MarginOption,
    MetricOption,
    PolicyOption,
    choose_policy,
    parse_pairs,
    split_names,
    tell_progress,
)
from emt_tasks.commands.telling import AnnotateOption, LogOption, SummaryOption, prepare_telling
from leaderboards.comparison.matrix import read_matrix

if TYPE_CHECKING:
    from leaderboards.gate.simulation import Rates

SECONDS = 22.0
"""For simulated candidates: with reading the runs, half a minute."""

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
gate = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@gate.command(name="gate", context_settings={"help_option_names": ["-h", "--help"]})
def gate_command(
    base: Annotated[
        Path | None,
        typer.Argument(
            help="The run of the model before fine-tuning: a folder or its results file; of lmms-eval, another harness "
            "or a table of scores."
        ),
    ] = None,
    candidate: Annotated[Path | None, typer.Argument(help="The run of the model after fine-tuning.")] = None,
    margin: MarginOption = None,
    policy: PolicyOption = None,
    encoder: Annotated[Path | None, typer.Option(help="The run of the zero-shot vision encoder.")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Compare only these tasks, separated by commas; or plan for them.")
    ] = None,
    metric: MetricOption = None,
    finetuned_on: Annotated[str | None, typer.Option(help="The task whose labels count as leakage.")] = None,
    matrix: Annotated[Path | None, typer.Option(help="YAML file that assigns tasks to quadrants.")] = None,
    allow_different: AllowDifferentOption = None,
    audit: AuditOption = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Say what --tasks, or BASE's, could decide; by default those of emt check."),
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Say how often this gate errs on runs like these two, in half a minute.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the result as JUnit XML too.")] = None,
    summary: SummaryOption = None,
    annotate: AnnotateOption = False,
    log: LogOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing JUnit file.")] = False,
) -> None:
    """Pass or fail a candidate against its base, sample by sample.

    Exit code 0: not inferior. 1: forgetting beyond the margin. 2: not enough evidence, runs that
    are not alike, or broken input. 3: an internal error; no verdict either.

    Example: emt gate runs/base runs/candidate --margin 2.0 --junit gate.xml

    Before any model runs: emt gate --plan --tasks forgetting_matrix_lite
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from rich.console import Console

    from emt_tasks.commands import planning
    from leaderboards.audit.rows import read_audit
    from leaderboards.audit.using import apply
    from leaderboards.comparison.forgetting import compare
    from leaderboards.gate.decide import decide
    from leaderboards.gate.output import as_json, print_table
    from leaderboards.gate.simulation import plan_like
    from leaderboards.report.candidates import parse_candidates

    rules = choose_policy(margin, policy)
    telling = prepare_telling(summary=summary, annotate=annotate, junit=junit, log=log, overwrite=overwrite)
    chosen = split_names(tasks)
    quadrants = read_matrix(matrix) if matrix else None
    metrics = parse_pairs("--metric", "TASK=NAME", metric)
    if plan:
        if candidate is not None:
            raise UserError("--plan takes no candidate: for two runs there is --self-test")
        planned = (
            planning.plan_tasks(chosen or [DEFAULT_TASKS], None, quadrants)
            if base is None
            else planning.plan_run(read_run(base), chosen, metrics, quadrants)
        )
        _print(planning.rate_plan(planned, rules, seconds=SECONDS), as_json=json)
        return
    if base is None or candidate is None:
        raise UserError("expected two runs, BASE and CANDIDATE (before any model runs: emt gate --plan)")
    comparison = compare(
        read_run(base),
        read_run(candidate),
        encoder=read_run(encoder) if encoder else None,
        tasks=chosen,
        matrix=quadrants,
        metrics=metrics,
        finetuned_on=finetuned_on,
        allow=allow_different or (),
        progress=tell_progress,
    )
    if audit is not None:
        comparison = apply(comparison, read_audit(audit), audit)
    if self_test:
        like = planning.rate(plan_like(comparison, rules), rules, seconds=SECONDS)
        _print([("runs like these", like)], as_json=json)
        return
    result = decide(comparison, rules, tasks=chosen)
    told = [(parse_candidates([str(base), str(candidate)])[1], result)]
    telling.write(told)
    if json:
        typer.echo(as_json(result))
    else:
        print_table(result, Console())
    telling.tell(told, aside=json)
    raise typer.Exit(result.exit_code)


def _print(found: Iterable[tuple[str, list[Rates]]], *, as_json: bool) -> None:
    from rich.console import Console

    from emt_tasks.commands.planning import print_rates, rates_json

    if as_json:
        typer.echo(rates_json(found))
        return
    for title, rates in found:
        print_rates(title, rates, Console())
