"""`emt audit`: draw pairs of answers to label, and label them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.options import AllowDifferentOption, MetricOption, parse_pairs, split_names, tell_progress

_HELP = {"help_option_names": ["-h", "--help"]}

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
audit = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False, context_settings=_HELP)


@audit.callback()
def audit_group() -> None:
    """Label some pairs of answers, so that a gate rests on them and not on a judge alone."""


@audit.command(name="sample", context_settings=_HELP)
def sample_command(
    base: Annotated[
        Path, typer.Argument(help="The run of the model before fine-tuning: a folder or its results file.")
    ],
    candidate: Annotated[Path, typer.Argument(help="The run of the model after it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file of pairs to write.")],
    number: Annotated[
        int, typer.Option("--number", "-n", min=2, help="Pairs of each task whose verdicts agree on different texts.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Of the draw, and of the order of the two answers.")] = 0,
    tasks: Annotated[str | None, typer.Option(help="Audit only these tasks, separated by commas.")] = None,
    metric: MetricOption = None,
    allow_different: AllowDifferentOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file, and its labels.")] = False,
) -> None:
    """Draw the pairs of answers that an audit needs, and write them to a file without labels.

    Drawn are all pairs whose two verdicts differ, and a random part of those that agree on different texts. Equal texts
    need no label: what is true of one is true of the other. Then: emt audit label.

    Example: emt audit sample runs/base runs/candidate -o audit.jsonl
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.audit.drawing import draw
    from leaderboards.audit.rows import write_audit

    if output.exists() and not overwrite:
        raise UserError(f"{output} already exists: choose another file or add --overwrite, which drops its labels")
    rows = draw(
        read_run(base),
        read_run(candidate),
        tasks=split_names(tasks),
        metrics=parse_pairs("--metric", "TASK=NAME", metric),
        allow=allow_different or (),
        size=number,
        seed=seed,
        progress=tell_progress,
    )
    if not rows:
        raise UserError("the two runs' answers are the same, word for word: there is nothing to audit")
    write_audit(output, rows)
    differ = sum(row.stratum == "differ" for row in rows)
    typer.echo(
        f"{len(rows)} pairs written to {output}: {differ} whose verdicts differ, {len(rows) - differ} of those that "
        f"agree on different texts. Label them: emt audit label {output}",
        err=True,
    )


@audit.command(name="label", context_settings=_HELP)
def label_command(
    file: Annotated[Path, typer.Argument(help="A file of emt audit sample.")],
    judge: Annotated[str | None, typer.Option(help="Let this judge label instead of people: llm, cascade, …")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Refuse to make more calls than this.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The page's port; 0 for a free one.")] = 0,
) -> None:
    """Label pairs of answers on a local page, by keyboard, blind to which model wrote which.

    Prints the page's address; only this machine can open it. Each label is saved to the file at once, and Ctrl-C ends
    it. Labels may also be typed into the file: first_correct and second_correct, true or false.

    With --judge, a judge labels; people's labels stay, go first at the gate, and its agreement with them is printed.

    Example: emt audit label audit.jsonl
    """
    if judge is None:
        _serve(file, port)
    else:
        _let_judge(file, judge, max_calls, yes)


def _serve(file: Path, port: int) -> None:
    from leaderboards.audit.page import serve, unlabelled
    from leaderboards.audit.rows import read_audit

    try:
        server = serve(file, port)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror or error}; choose another, or 0 for a free one") from error
    typer.echo(f"Label at {server.address} and press Ctrl-C here when done", err=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo(f"{unlabelled(read_audit(file))} pairs in {file} have no labels yet", err=True)
    finally:
        server.server_close()


def _let_judge(file: Path, name: str, max_calls: int | None, yes: bool) -> None:
    from emt_tasks.commands.judge_output import agree_on_costs, closing, print_agreement
    from judges.judging import get_judge
    from leaderboards.audit.llm import answers, label, with_people
    from leaderboards.audit.rows import read_audit, write_audit

    rows = read_audit(file)
    chosen = get_judge(name, **({} if max_calls is None else {"max_calls": max_calls}))
    with closing(chosen):
        agree_on_costs(chosen, answers(rows), yes)
        rows = label(rows, chosen)
    write_audit(file, rows)
    left = sum(row.llm is None or None in (row.llm.first_correct, row.llm.second_correct) for row in rows)
    typer.echo(f"{chosen.name}: {len(rows) - left} of {len(rows)} pairs labelled in {file}", err=True)
    measured = with_people(rows)
    if measured is None:
        typer.echo("No pair has people's labels: label some, to see how far this judge agrees with them.", err=True)
    else:
        typer.echo(f"A: {chosen.name}, B: people")
        print_agreement(measured, 20)
