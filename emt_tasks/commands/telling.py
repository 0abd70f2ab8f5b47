"""Where verdicts go besides the terminal: a summary in Markdown, annotations, JUnit, experiment trackers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emt_core.errors import UserError, one_line
from emt_core.files import write_text

if TYPE_CHECKING:
    from leaderboards.gate.decide import GateResult
    from leaderboards.report.candidates import Candidate

SummaryOption = Annotated[
    Path | None,
    typer.Option(help="Append the verdict, a picture and the table to this file, in Markdown: $GITHUB_STEP_SUMMARY."),
]

AnnotateOption = Annotated[
    bool,
    typer.Option("--annotate", help="Print GitHub's annotations: the verdict, and each task that did not pass."),
]

LogOption = Annotated[
    list[str] | None,
    typer.Option("--log", metavar="LOGGER", help="Log to wandb, mlflow or trackio, or LOGGER:PROJECT; repeatable."),
]


@dataclass(frozen=True, slots=True)
class Telling:
    """What the user asked for; see the options."""

    summary: Path | None = None
    annotate: bool = False
    junit: Path | None = None
    loggers: list[tuple[str, str]] = field(default_factory=list)

    def write(self, told: Sequence[tuple[Candidate, GateResult]]) -> None:
        """Write the files, before anything is printed.

        Raises:
            UserError: one cannot be written.
        """
        named = [(candidate.label, result) for candidate, result in told]
        if self.summary is not None:
            from leaderboards.report.summary import as_markdown

            _append(self.summary, as_markdown(named))
        if self.junit is not None:
            from leaderboards.gate.output import as_junit

            write_text(self.junit, as_junit(named), overwrite=True)

    def tell(
        self, told: Sequence[tuple[Candidate, GateResult]], *, report: Path | None = None, aside: bool = False
    ) -> None:
        """Annotate, and log. A tracker that fails is told, and no more: the verdict stands without it.

        Args:
            told: the candidates with their results.
            report: the report's file, where there is one.
            aside: annotations go to stderr, since stdout is for a program.
        """
        if self.annotate:
            from leaderboards.gate.annotations import workflow_commands

            for line in workflow_commands([(candidate.label, result) for candidate, result in told]):
                typer.echo(line, err=aside)
        for logger, project in self.loggers:
            _log(logger, project, told, report)


def prepare_telling(
    *, summary: Path | None, annotate: bool, junit: Path | None, log: Sequence[str] | None, overwrite: bool = True
) -> Telling:
    """Check what the user asked for, before anything runs.

    Raises:
        UserError: the JUnit file exists and may not be replaced, or a tracker is unknown or not installed.
    """
    if junit and junit.exists() and not overwrite:
        raise UserError(f"--junit {junit} already exists: choose another file or add --overwrite")
    loggers = []
    if log:
        from leaderboards.exports.trackers import choose

        loggers = choose(log)
    return Telling(summary, annotate, junit, loggers)


def _append(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", newline="\n") as opened:
            opened.write(f"{text}\n")
    except OSError as error:
        raise UserError(f"--summary {file}: cannot be written: {error.strerror or error}") from error


def _log(logger: str, project: str, told: Sequence[tuple[Candidate, GateResult]], report: Path | None) -> None:
    from leaderboards.exports.trackers import log

    try:
        with redirect_stdout(sys.stderr):  # stdout may be read by a program
            log(logger, project, told, report)
    except Exception as error:  # noqa: BLE001 - trackers raise what they like, and the verdict stands
        typer.echo(f"--log {logger}: not logged: {type(error).__name__}: {one_line(error)}", err=True)
