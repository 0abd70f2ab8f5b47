"""What `emt judge` asks and says: the costs, the progress, what came out, and how far judges agree."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from emt_core.errors import UserError
from judges.judging import Judge
from judges.llm.chat import Chat
from judges.llm.costs import Estimate
from judges.llm.judge import CostlyJudge
from judges.rerun.agreement import Agreement, ErrorRates
from judges.target import Target
from judges.verdict import CATEGORIES

if TYPE_CHECKING:
    from judges.rerun.calibration import Calibration, Threshold
    from judges.rerun.krippendorff import Alpha
    from judges.rerun.reliability import Reliability

STDOUT = Path("-")


def chats_of(chosen: Judge) -> tuple[Chat, ...]:
    """Return the models that a judge asks, if any."""
    return chosen.chats if isinstance(chosen, CostlyJudge) else ()


def agree_on_costs(chosen: Judge, answers: Iterable[tuple[str, Target]], yes: bool) -> Estimate:
    """Read all answers, so that a fault shows before anything is spent; print what it will cost, and ask."""
    items = list(answers)
    if not isinstance(chosen, CostlyJudge):
        return Estimate(len(items))
    cost = chosen.estimate(items)
    typer.echo(f"{chosen.name}: {cost}", err=True)
    limit = next((chat.settings.max_calls for chat in chosen.chats), None)
    if limit is not None and cost.calls > limit:
        raise UserError(f"--max-calls {limit}: {cost.calls} calls are needed; nothing was asked")
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    if cost.calls and limit is None and not interactive:
        raise UserError(f"--max-calls: no terminal to confirm on; say how many calls may be made ({cost.calls})")
    if cost.calls and interactive and not yes:
        typer.confirm("Continue?", abort=True, err=True)
    return cost


@contextmanager
def closing(chosen: Judge) -> Iterator[None]:
    """Close a judge that holds connections and a cache, whatever happens."""
    try:
        yield
    finally:
        if isinstance(chosen, CostlyJudge):
            chosen.close()


@contextmanager
def saying_how_to_resume(chosen: Judge, out: Path) -> Iterator[None]:
    """Let Ctrl-C say what is kept, and that the same command resumes."""
    try:
        yield
    except KeyboardInterrupt as stop:
        chats = chats_of(chosen)
        if chats and all(chat.settings.cache for chat in chats):
            done = sum(chat.done - chat.failures for chat in chats)
            raise KeyboardInterrupt(f"replies kept: {done:,}; repeat the command to resume") from stop
        raise KeyboardInterrupt("" if out == STDOUT else "repeat the command to resume") from stop


@contextmanager
def progress(cost: Estimate, chats: tuple[Chat, ...]) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error if that is a terminal; yield the function that advances it."""
    left = _Spending(cost, chats) if cost.calls else TimeRemainingColumn()
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), left)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=cost.answers)
        yield lambda rows: bar.advance(task, rows)


class _Spending(ProgressColumn):
    """The calls made, what they cost and the time left, as of now."""

    def __init__(self, cost: Estimate, chats: tuple[Chat, ...]) -> None:
        super().__init__()
        self._cost, self._chats, self._started = cost, chats, time.monotonic()

    def render(self, task: Any) -> Text:
        """Say it; `task` counts answers, many of which cost no call."""
        done = sum(chat.done for chat in self._chats)
        money = sum(chat.spent.money for chat in self._chats)
        return Text(spending(self._cost, done, money, time.monotonic() - self._started), style="progress.remaining")


def spending(cost: Estimate, done: int, money: float, elapsed_s: float) -> str:
    """Say how many calls are done, what they cost if there are prices, and how long the others will take."""
    said = f"{done:,} of {cost.calls:,} calls"
    if cost.money:
        said += f", {money:,.2f} of at most {cost.money:,.2f} spent"
    if not done or done >= cost.calls:
        return said
    minutes, seconds = divmod(round(elapsed_s * (cost.calls - done) / done), 60)
    return f"{said}, {minutes // 60}:{minutes % 60:02}:{seconds:02} left"


def finish(chosen: Judge, counts: Counter[str], out: Path, votes: Reliability | None) -> None:
    """Say what came out; exit with 2 where the server left answers without a verdict."""
    said = ", ".join(f"{counts[category]:,} {category}" for category in sorted(counts)) or "no answers"
    typer.echo(f"{chosen.name}: {said}" + ("" if out == STDOUT else f"; written to {out}"), err=True)
    if votes is not None:
        print_reliability(votes, err=True)
    chats = chats_of(chosen)
    calls, money = sum(chat.done for chat in chats), sum(chat.spent.money for chat in chats)
    if money:
        typer.echo(f"{chosen.name}: {calls:,} calls, {money:,.2f} spent", err=True)
    failed = [chat for chat in chats if chat.failures]
    if not failed:
        return
    errors = "; ".join(f"{chat.model}: {chat.last_error}" if len(chats) > 1 else chat.last_error for chat in failed)
    lacking = "what it left out has no vote" if len(chats) > 1 else "those answers are unscored"
    typer.echo(
        f"{chosen.name}: the server failed ({errors}); {lacking}. Repeat the command with --overwrite to ask again: "
        "the others come from the cache.",
        err=True,
    )
    raise typer.Exit(2)


def print_reliability(measured: Reliability, *, err: bool = False) -> None:
    """Print how far several judges agree."""

    def shown(alpha: Alpha) -> str:
        value = "undefined" if alpha.alpha is None else f"{alpha.alpha:.3f}"
        low_high = "" if alpha.interval is None else " (95 % interval {:.3f} to {:.3f})".format(*alpha.interval)
        return f"{value}{low_high}, {alpha.answers:,} answers scored by two or more"

    lines = [f"judges               {', '.join(measured.judges)}"]
    if measured.unanimous is not None and len(measured.judges) > 2:
        lines.append(
            f"answers              {measured.answers:,}: {measured.unanimous:,} unanimous, {measured.by_majority:,} by "
            f"majority, {measured.undecided:,} without one"
        )
    lines.append(f"correct or not       Krippendorff's alpha {shown(measured.correct)}")
    if measured.category.answers:
        lines.append(f"category             Krippendorff's alpha {shown(measured.category)}")
    typer.echo("\n".join(lines), err=err)


def print_pair(pair: Agreement, rates: list[ErrorRates], by: str, measured: Reliability, limit: int) -> None:
    """Print all that is measured of two judges."""

    def middle() -> None:
        print_error_rates(rates, by)
        typer.echo("")
        print_reliability(measured)

    print_agreement(pair, limit, middle)


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
