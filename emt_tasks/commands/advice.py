"""What `emt finetune --advise` prints: the recipe to standard output, and the reasons, shortly, to standard error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from finetune.advice.look import Advice


def print_advice(overrides: Sequence[str], memory: float | None) -> None:
    """Print a recipe, and on standard error what was looked at, where each task is, and the proposals.

    Args:
        overrides: `data=…`, `model=…` and fields of the recipe.
        memory: GiB of the device; None for this machine's.

    Raises:
        UserError: the data or the model cannot be read, or a field is invalid.
    """
    # Imported here, since --help would wait.
    from datasets import disable_progress_bars
    from rich.console import Console
    from rich.progress import track

    from finetune.advice.look import advise, request

    disable_progress_bars()
    console = Console(stderr=True, highlight=False)

    def progress(what: str, items: Sequence[Any]) -> Iterable[Any]:
        return track(items, what, console=console, transient=True, disable=not console.is_terminal)

    advice = advise(request(overrides), memory=None if memory is None else int(memory * 2**30), progress=progress)
    for part in (*_lists(advice), _places(advice), *_proposals(advice)):
        console.print(part)
    typer.echo(advice.recipe, nl=False)


def _lists(advice: Advice) -> Iterable[RenderableType]:
    """Yield what was looked at, and what could not be."""
    from rich.text import Text

    for title, lines in (("Looked at", advice.seen), ("Not looked at, or wrong", advice.unseen)):
        if lines:
            yield Text(title, style="bold")
            yield from (_indented(line, 2) for line in lines)


def _places(advice: Advice) -> RenderableType:
    """Return the table of the tasks' places."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), title="Where each task is", title_justify="left", title_style="bold")
    for name in ("task", "quadrant", "text", "images"):
        table.add_column(name, overflow="fold")
    for one in advice.placements:
        table.add_row(one.task, one.quadrant or "cannot tell", one.text.why, one.image.why)
    return table


def _proposals(advice: Advice) -> Iterable[RenderableType]:
    """Yield each proposal: field and value, the reason, where the evidence is from."""
    from rich.text import Text

    from finetune.advice.recipe import short

    yield Text("Advice; the figures behind each reason are in the recipe, on standard output", style="bold")
    for one in advice.proposals:
        given, value = ", ".join(one.given), short(one.value)
        if one.replaced:
            value = f"{given} is given; the advice was {value}"
        elif given:
            value = f"{value}, where {given} is given"
        yield _indented(f"{one.field}: {value}", 2)
        yield _indented(one.because, 6)
        if one.sources:
            yield _indented(f"[{'; '.join(one.sources)}]", 6, "dim")


def _indented(text: str, by: int, style: str = "") -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text, style=style), (0, 0, 0, by))
