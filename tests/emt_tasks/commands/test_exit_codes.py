"""1 is forgetting and nothing else: whatever else goes wrong exits with 2, a fault of our own with 3."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer

from emt_tasks.commands import app as cli

COMMANDS = Path(cli.__file__).parent


class Standin:
    """Stands in for the Typer app: ends as a command would."""

    def __init__(self, end: BaseException) -> None:
        self.end = end

    def __call__(self, **_: object) -> None:
        typer_app = typer.Typer(pretty_exceptions_enable=False)
        typer_app.command()(self.command)
        typer_app(args=[])

    def command(self) -> None:
        raise self.end


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (typer.Exit(0), 0, ""),
        (typer.Exit(1), 1, ""),
        (typer.Exit(2), 2, ""),
        (typer.Abort(), 2, "Aborted"),
        (typer.BadParameter("no"), 2, "no"),
        (BrokenPipeError(32, "Broken pipe"), 2, ""),
        (EOFError(), 2, "Aborted"),
        (KeyboardInterrupt(), 130, "emt: interrupted\n"),
        (SystemExit(0), 0, ""),
        (SystemExit(1), 2, ""),
        (SystemExit("emt-eval: no data"), 2, "emt: emt-eval: no data\n"),
        (
            RecursionError("too deep\nsecond line"),
            3,
            "emt: internal error: RecursionError: too deep; run again with --debug and report it\n",
        ),
        (MemoryError(), 3, "emt: internal error: MemoryError: MemoryError; run again with --debug and report it\n"),
        (pl.exceptions.PanicException("oops"), 3, "emt: internal error: PanicException: oops; "),
    ],
    ids=repr,
)
def test_every_end_has_its_code(
    end: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", Standin(end))
    assert cli.main(["gate"]) == code
    assert said in capsys.readouterr().err


def test_debug_shows_the_traceback_of_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", Standin(ValueError("oops")))
    assert cli.main(["gate", "--debug"]) == 3
    told = capsys.readouterr().err
    assert "Traceback (most recent call last):" in told
    assert "in command" in told


def test_only_a_verdict_can_exit_with_1() -> None:
    """No command ends with a literal 1: `emt gate` and `emt check` end with the code of their verdict."""
    exits = [found for file in COMMANDS.glob("*.py") for found in re.findall(r"[Ee]xit\((\w*)\)", file.read_text())]
    assert "1" not in exits
    assert len(exits) >= 3


@pytest.mark.parametrize("module", ["emt_tasks", "emt_tasks.commands.app"])
@pytest.mark.parametrize(
    ("arguments", "code"), [(["gate"], 2), (["gate", "nowhere", "nowhere"], 2), (["nothing"], 2), (["gate", "-h"], 0)]
)
def test_codes_from_outside(module: str, arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, check=False)
    assert done.returncode == code


def test_a_closed_stderr_does_not_turn_a_failure_into_forgetting() -> None:
    command = f"{sys.executable} -m emt_tasks gate nowhere nowhere 2>&-"
    assert subprocess.run(command, shell=True, check=False).returncode == 2


def test_a_terminal_of_ascii_shows_escapes() -> None:
    code = "import sys; from emt_tasks.commands.app import main; main(['--version']); print('−')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout.split()[-1]) == (0, b"\\u2212")
