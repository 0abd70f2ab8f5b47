"""`emt judge`: rejudge logged answers; `emt judge agreement` and `calibrate`: measure judges on labelled ones."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from emt_core.errors import UserError
from emt_core.files import Row, dump_row, write_text
from emt_tasks.commands.judge_output import (
    STDOUT,
    agree_on_costs,
    chats_of,
    closing,
    finish,
    print_calibration,
    print_pair,
    print_reliability,
    progress,
    saying_how_to_resume,
)
from judges.judging import Judge, get_judge
from judges.rerun.agreement import agreement, error_rates, read_opinions
from judges.rerun.rejudge import Work, check_output, find_work, judged, rejudge

if TYPE_CHECKING:
    from judges.rerun.reliability import Reliability

_ANSWERS = "answers"


class DefaultCommandGroup(TyperGroup):
    """A group whose command `answers` needs no name: `emt judge PATH …` beside `emt judge agreement A B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command's name if it was left out."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_ANSWERS, *args])


class DefaultCommand(TyperCommand):
    """The command that is called without its name; help and errors show it under the group's name."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Take the group's place, whose name is the parent's; `info_name` is that of the hidden command."""
        return super().make_context(parent.info_name, args, parent=parent.parent, **extra)


judge = typer.Typer(cls=DefaultCommandGroup, pretty_exceptions_enable=False, rich_markup_mode=None)


@judge.command(
    _ANSWERS,
    cls=DefaultCommand,
    no_args_is_help=True,
    epilog="Examples: emt judge runs/base --judge cascade -o runs/base-cascade; emt judge runs/base --judge panel "
    "--model a --model b --model c -o runs/base-panel. To compare judges: emt judge agreement --help",
)
def judge_answers(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_JSONL", help="The run of lmms-eval or another harness, or a file of rows."),
    ],
    out: Annotated[
        Path, typer.Option("--output", "-o", help="Where the judged copy goes; '-' writes rows to standard output.")
    ],
    by: Annotated[str, typer.Option("--judge", help="fuzzy, llm, emt-paper, embedding, cascade or panel.")] = "fuzzy",
    task: Annotated[list[str] | None, typer.Option(help="Judge only this task of a run; may be repeated.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="The model to ask, or the text encoder of 'embedding'; once for each model of 'panel'."),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            help="An OpenAI-compatible server, such as http://host/v1; with 'panel' one for all, or one for each model."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="cascade: ask the LLM below this confidence.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Refuse to make more calls than this.")] = None,
    structured: Annotated[
        str | None,
        typer.Option(help="auto: ask for JSON by a schema where the server takes one; on: always; off: never."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Rejudge logged answers, without the model that gave them.

    A run is copied with new verdicts, metrics and means. Each row {"task", "label", "prediction"}, with
    "choices" for multiple choice, gets a "verdict"; the order stays. A command that was killed resumes. How to
    set up the LLM: python -c "import judges.settings; help(judges.settings)".
    """
    work = find_work(source, task or ())
    if out != STDOUT:
        check_output(work, out, overwrite=overwrite)
    chosen = _chosen(
        by, model=model, base_url=base_url, threshold=threshold, max_calls=max_calls, structured=structured
    )
    with saying_how_to_resume(chosen, out), closing(chosen):
        cost = agree_on_costs(chosen, work.items(), yes)
        if out == STDOUT:
            counts, votes = _to_stdout(work, chosen)
        else:
            with progress(cost, chats_of(chosen)) as advance:
                counts = rejudge(work, out, chosen, overwrite=overwrite, advance=advance)
            votes = _votes(Work(out, work.files)) if by == "panel" else None
    finish(chosen, counts, out, votes)


@judge.command(
    "agreement",
    no_args_is_help=True,
    epilog="Examples: emt judge agreement judged.jsonl gold.jsonl --json; emt judge agreement a.jsonl b.jsonl c.jsonl; "
    "emt judge agreement runs/base-panel",
)
def judge_agreement(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="A B…", help="Judged rows or runs with the same answers, or gold rows; or one panel's."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every disagreement.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many disagreements to list.")] = 20,
    by: Annotated[str, typer.Option(help="The field whose values get error rates of their own.")] = "task",
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Also write it to this JSON file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Measure how far judges agree, people among them: gold rows have "category" and/or "correct".

    Any number of judges get Krippendorff's alpha, two also Cohen's kappa, error rates of A where B is right, and the
    answers on which they differ. A single panel's rows are measured by the votes in them.
    """
    from judges.rerun.reliability import reliability

    if len(files) == 1:
        measured = _votes(find_work(files[0]))
        if measured is None:
            raise UserError(f"{files[0]}: holds no panel's votes; expected them, or two files or more to compare")
        sides = []
    else:
        sides = [read_opinions(file) for file in files]
        measured = reliability(sides, [str(file) for file in files])
    told: dict[str, Any] = {"reliability": asdict(measured)}
    pair = agreement(sides[0], sides[1]) if len(sides) == 2 else None
    if pair is not None:
        rates = error_rates(sides[0], sides[1], by)
        told = {**asdict(pair), "error_rates": list(map(asdict, rates)), **told}
    text = json.dumps(told, ensure_ascii=False, indent=2)
    if out is not None:
        write_text(out, text + "\n", overwrite=overwrite)
    if as_json:
        typer.echo(text)
    elif pair is None:
        print_reliability(measured)
    else:
        print_pair(pair, rates, by, measured, limit)


@judge.command(
    "calibrate",
    no_args_is_help=True,
    epilog="Example: emt judge calibrate labelled.jsonl --max-error 0.01 -o calibration.json",
)
def judge_calibrate(
    labelled: Annotated[Path, typer.Argument(help='Rows labelled by people, with "category" or "correct".')],
    max_error: Annotated[
        float | None, typer.Option(min=0, max=1, help="The share of wrong verdicts that the rules may keep.")
    ] = None,
    max_calls: Annotated[
        float | None, typer.Option(min=0, help="How many of these answers a model may be asked about.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this JSON file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Measure how often the rules are right at each confidence, and choose the cascade's threshold by it."""
    from judges.rerun.calibration import calibrate

    rules, gold = get_judge("fuzzy"), read_opinions(labelled)
    verdicts = [rules.judge(*item) for item in find_work(labelled, ()).items()]
    pairs = [(verdict, opinion) for verdict, opinion in zip(verdicts, gold, strict=True) if opinion.correct is not None]
    found = calibrate(
        [verdict.confidence for verdict, _ in pairs], [verdict.correct == opinion.correct for verdict, opinion in pairs]
    )
    chosen = {}
    if max_error is not None:
        chosen["max_error"] = found.for_error(max_error)
    if max_calls is not None:
        chosen["max_calls"] = found.for_calls(max_calls / found.answers)
    if out is not None:
        told = {**asdict(found), "chosen": {name: asdict(choice) for name, choice in chosen.items()}}
        write_text(out, json.dumps(told, indent=2) + "\n", overwrite=overwrite)
    print_calibration(found, chosen)


@judge.command(
    "batch",
    no_args_is_help=True,
    epilog="Example: emt judge batch write runs/base requests.jsonl; emt judge batch submit requests.jsonl; a day "
    "later emt judge batch fetch BATCH_ID results.jsonl; emt judge batch read runs/base results.jsonl; then emt judge "
    "runs/base --judge llm asks nothing.",
)
def judge_batch(
    step: Annotated[str, typer.Argument(metavar="STEP", help="write, submit, fetch or read.")],
    first: Annotated[str, typer.Argument(metavar="RUN_OR_JSONL|FILE|ID", help="What the step starts from.")],
    file: Annotated[Path | None, typer.Argument(help="write: the requests; fetch and read: the results.")] = None,
    by: Annotated[str, typer.Option("--judge", help="llm or emt-paper.")] = "llm",
    model: Annotated[str | None, typer.Option(help="The model to ask.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server, such as http://host/v1.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Ask an LLM judge by batch files, which many servers answer at a lower price within a day."""
    from judges.llm import batch
    from judges.llm.judge import LLMJudge

    chosen = _chosen(by, model=model, base_url=base_url)
    if not isinstance(chosen, LLMJudge):
        raise UserError(f"--judge {by}: expected llm or emt-paper")
    if step not in ("write", "submit", "fetch", "read"):
        raise UserError(f"{step}: expected write, submit, fetch or read")
    if step != "submit" and file is None:
        raise UserError(f"{step}: expected a file as the last argument")
    with closing(chosen):
        if step == "submit":
            typer.echo(batch.submit(chosen.chat.client, Path(first)))
        elif file is not None and step == "fetch":
            batch.fetch(chosen.chat.client, first, file, overwrite=overwrite)
        elif file is not None:
            items = list(find_work(Path(first), ()).items())
            if step == "write":
                typer.echo(f"{batch.write_requests(chosen, items, file, overwrite=overwrite):,} requests", err=True)
            else:
                kept, missing = batch.read_results(chosen, items, file)
                typer.echo(f"{kept:,} answers kept, {missing:,} requests without one", err=True)


def _chosen(by: str, **given: Any) -> Judge:
    """Return the judge by the options that were given."""
    return get_judge(by, **{name: value for name, value in given.items() if value not in (None, [], ())})


def _votes(work: Work) -> Reliability | None:
    """Measure a panel's members by the votes in what it judged."""
    from judges.rerun.reliability import panel_reliability

    return panel_reliability(row for _, row in work.rows())


def _to_stdout(work: Work, chosen: Judge) -> tuple[Counter[str], Reliability | None]:
    from judges.rerun.reliability import panel_reliability

    if work.is_run:
        raise UserError("-o -: a run needs an output folder; only rows can go to standard output")
    counts: Counter[str] = Counter()
    votes: list[Row] = []
    for row in judged(work.rows(), chosen):
        sys.stdout.buffer.write(dump_row(row))
        counts[row["verdict"]["category"]] += 1
        if "votes" in row["verdict"]:
            votes.append(row)
    sys.stdout.buffer.flush()
    return counts, panel_reliability(votes)
