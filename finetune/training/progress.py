"""Speed and time left on the terminal; nothing if standard error is not one."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar over the steps of a run with loss, images and tokens per second, and time left.

    Args:
        start: steps done before.
        steps: of the whole run.
        shown: True only on the first process.
    """

    def __init__(self, start: int, steps: int, *, shown: bool) -> None:

        console = self._console = Console(stderr=True)
        self._shown = shown
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task("training", total=steps, completed=start)
        self.seconds = self.total = 0.0
        """Of the last step, and of all steps so far."""
        self._since = time.perf_counter()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, loss: float, images: int, tokens: int) -> dict[str, Any]:
        """Advance by a step; return its seconds, images and tokens per second. Time between steps does not count."""
        self.seconds = seconds = time.perf_counter() - self._since
        self.total += seconds
        speed = {"images_per_second": round(images / seconds, 2), "tokens_per_second": round(tokens / seconds, 1)}
        shown = (
            f"loss {loss:.4f} · {speed['images_per_second']:.1f} images/s · {speed['tokens_per_second']:.0f} tokens/s"
        )
        self._bar.update(self._task, advance=1, description=shown)
        self._since = time.perf_counter()
        return speed

    def say(self, text: str) -> None:
        """Show what happens between two steps; as a separate line if there is no terminal."""
        if self._console.is_terminal:
            self._bar.update(self._task, description=text)
        else:
            self.note(text)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._shown:
            self._console.print(text, highlight=False, soft_wrap=True)

    def restart_clock(self) -> None:
        """Start timing the next step."""
        self._since = time.perf_counter()
