"""`emt judge`: rejudge logged answers; `emt judge agreement` and `calibrate`: measure judges on labelled ones."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from emt_core.errors import UserError
from emt_core.files import dump_row, write_text
from judges.judging import Judge, get_judge
from judges.llm.judge import CostlyJudge
from judges.rerun.agreement import Agreement, ErrorRates, agreement, error_rates, read_opinions
from judges.rerun.rejudge import Work, check_output, find_work, judged, rejudge
from judges.target import Target
from judges.verdict import CATEGORIES

if TYPE_CHECKING:
    from judges.rerun.calibration import Calibration, Threshold

_ANSWERS = "answers"
_STDOUT = Path("-")


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
    epilog="Example: emt judge runs/base --judge cascade -o runs/base-cascade. To compare two judges: "
    "emt judge agreement --help",
)
def judge_answers(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_JSONL", help="An lmms-eval output folder, or a file of rows.")
    ],
    out: Annotated[
        Path, typer.Option("--output", "-o", help="Where the judged copy goes; '-' writes rows to standard output.")
    ],
    by: Annotated[str, typer.Option("--judge", help="fuzzy, llm, emt-paper, embedding or cascade.")] = "fuzzy",
    task: Annotated[list[str] | None, typer.Option(help="Judge only this task of a run; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to ask, or the text encoder of 'embedding'.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible server, such as http://host/v1.")] = None,
    threshold: Annotated[float | None, typer.Option(help="cascade: ask the LLM below this confidence.")] = None,
    max_calls: Annotated[int | None, typer.Option(min=0, help="Refuse to make more calls than this.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Rejudge logged answers, without the model that gave them.

    A run is copied with new verdicts, metrics and means. Each row {"task", "label", "prediction"}, with
    "choices" for multiple choice, gets a "verdict"; the order stays. A command that was killed resumes. How to
    set up the LLM: python -c "import judges.settings; help(judges.settings)".
    """
    work = find_work(source, task or ())
    if out != _STDOUT:
        check_output(work, out, overwrite=overwrite)
    given = {"model": model, "base_url": base_url, "threshold": threshold, "max_calls": max_calls}
    chosen = get_judge(by, **{name: value for name, value in given.items() if value is not None})
    with closing(chosen):
        answers = agree_on_costs(chosen, work.items(), yes)
        if out == _STDOUT:
            counts = _to_stdout(work, chosen)
        else:
            with _progress(answers) as advance:
                counts = rejudge(work, out, chosen, overwrite=overwrite, advance=advance)
    _finish(chosen, counts, out)


@judge.command("agreement", epilog="Example: emt judge agreement judged.jsonl gold.jsonl --json")
def judge_agreement(
    a: Annotated[Path, typer.Argument(help="Judged rows or a run.")],
    b: Annotated[Path, typer.Argument(help="The same answers judged differently, or gold rows.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with every disagreement.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many disagreements to list.")] = 20,
    by: Annotated[str, typer.Option(help="The field whose values get error rates of their own.")] = "task",
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Also write it to this JSON file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Measure judge A against B: another judge, or gold rows with "category" and/or "correct"."""
    one, other = read_opinions(a), read_opinions(b)
    measured, rates = agreement(one, other), error_rates(one, other, by)
    told = json.dumps({**asdict(measured), "error_rates": list(map(asdict, rates))}, ensure_ascii=False, indent=2)
    if out is not None:
        write_text(out, told + "\n", overwrite=overwrite)
    if as_json:
        typer.echo(told)
    else:
        print_agreement(measured, limit, lambda: print_error_rates(rates, by))


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

    given = {"model": model, "base_url": base_url}
    chosen = get_judge(by, **{name: value for name, value in given.items() if value is not None})
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


def agree_on_costs(chosen: Judge, answers: Iterable[tuple[str, Target]], yes: bool) -> int:
    """Read all answers, so that a fault shows before anything is spent; print what it will cost, and ask.

    Returns their number.
    """
    items = list(answers)
    if not isinstance(chosen, CostlyJudge):
        return len(items)
    cost = chosen.estimate(items)
    typer.echo(f"{chosen.name}: {cost}", err=True)
    limit = chosen.chat.settings.max_calls if chosen.chat else None
    if limit is not None and cost.calls > limit:
        raise UserError(f"--max-calls {limit}: {cost.calls} calls are needed; nothing was asked")
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    if cost.calls and limit is None and not interactive:
        raise UserError(f"--max-calls: no terminal to confirm on; say how many calls may be made ({cost.calls})")
    if cost.calls and interactive and not yes:
        typer.confirm("Continue?", abort=True, err=True)
    return len(items)


@contextmanager
def closing(chosen: Judge) -> Iterator[None]:
    """Close a judge that holds connections and a cache, whatever happens."""
    try:
        yield
    finally:
        if isinstance(chosen, CostlyJudge):
            chosen.close()


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error if that is a terminal; yield the function that advances it."""
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=total)
        yield lambda rows: bar.advance(task, rows)


def _to_stdout(work: Work, chosen: Judge) -> Counter[str]:

    if work.is_run:
        raise UserError("-o -: a run needs an output folder; only rows can go to standard output")
    counts: Counter[str] = Counter()
    for row in judged(work.rows(), chosen):
        sys.stdout.buffer.write(dump_row(row))
        counts[row["verdict"]["category"]] += 1
    sys.stdout.buffer.flush()
    return counts


def _finish(chosen: Judge, counts: Counter[str], out: Path) -> None:
    """Say what came out; exit with 2 where the server left answers without a verdict."""
    said = ", ".join(f"{counts[category]:,} {category}" for category in sorted(counts)) or "no answers"
    typer.echo(f"{chosen.name}: {said}" + ("" if out == _STDOUT else f"; written to {out}"), err=True)
    if isinstance(chosen, CostlyJudge) and chosen.chat and chosen.chat.failures:
        typer.echo(
            f"{chosen.name}: the server failed ({chosen.chat.last_error}); those answers are unscored. Repeat the "
            "command with --overwrite to ask again: the others come from the cache.",
            err=True,
        )
        raise typer.Exit(2)


def print_agreement(measured: Agreement, limit: int, then: Callable[[], None] = lambda: None) -> None:
    """Print how far A and B agree, what `then` prints, and the first disagreements."""

    def share(value: float | None, interval: tuple[float, float] | None) -> str:
        if value is None or interval is None:
            return "undefined"
        return f"{100 * value:.1f} % (95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f})"

    def kappa(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    typer.echo(
        f"answers              {measured.answers} ({measured.scored} scored by both; unscored: A "
        f"{measured.unscored_a}, B {measured.unscored_b})\n"
        f"correct or not       {share(measured.accuracy, measured.interval)}, Cohen's kappa {kappa(measured.kappa)}\n"
        f"category             {share(measured.category_accuracy, measured.category_interval)}, Cohen's kappa "
        f"{kappa(measured.kappa_category)}\n"
        f"A correct, B not     {measured.false_correct}\n"
        f"B correct, A not     {measured.false_wrong}"
    )
    if measured.confusion:
        table = Table("A \\ B", *CATEGORIES, box=None, pad_edge=False)
        for category, row in measured.confusion.items():
            table.add_row(category, *(str(row.get(other, 0)) for other in CATEGORIES))
        typer.echo("")
        Console(width=100, markup=False).print(table)
    then()
    shown = measured.disagreements[:limit]
    if shown:
        typer.echo(f"\n{len(measured.disagreements)} disagreements, {len(shown)} listed:")
    for case in shown:
        typer.echo(f"{case['task']} {case['id']}: A {case['a']}, B {case['b']}: {case['prediction'][:100]!r}")


def print_error_rates(rates: list[ErrorRates], by: str) -> None:
    """Print how often A errs, for all answers and for each group."""

    def share(value: float | None, interval: tuple[float, float] | None) -> str:
        if value is None or interval is None:
            return "none"
        return f"{100 * value:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"

    table = Table(by, box=None, pad_edge=False)
    for name in ("answers", "wrong, A says correct", "correct, A says wrong"):
        table.add_column(name, justify="right")
    for one in rates:
        table.add_row(
            one.group,
            f"{one.correct + one.wrong:,}",
            share(one.false_correct, one.false_correct_interval),
            share(one.false_wrong, one.false_wrong_interval),
        )
    typer.echo("")
    Console(width=100, markup=False).print(table)


def print_calibration(found: Calibration, chosen: dict[str, Threshold]) -> None:
    """Print how often the rules are right at each confidence, and the thresholds asked for."""
    table = Table("confidence", box=None, pad_edge=False)
    for name in ("answers", "right", "fitted", "threshold asks", "and keeps wrong"):
        table.add_column(name, justify="right")
    for level, choice in zip(found.levels, found.thresholds, strict=False):
        table.add_row(
            f"{level.confidence:.2f}",
            f"{level.answers:,}",
            f"{100 * level.right / level.answers:.1f} %",
            f"{100 * level.fitted:.1f} %",
            f"{100 * choice.asked:.1f} %",
            f"{100 * choice.wrong:.2f} %",
        )
    Console(width=100, markup=False).print(table)
    typer.echo(
        f"\n{found.right:,} of {found.answers:,} verdicts are right. Calibration error {found.error:.4f}, fitted "
        f"{found.error_fitted:.4f}; Brier score {found.brier:.4f}, fitted {found.brier_fitted:.4f} (on held-out parts)"
    )
    for name, choice in chosen.items():
        typer.echo(
            f"--{name.replace('_', '-')}: --threshold {choice.threshold:g} asks a model about "
            f"{100 * choice.asked:.1f} % and keeps {100 * choice.wrong:.2f} % wrong verdicts of the rules"
        )
