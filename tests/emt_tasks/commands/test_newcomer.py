"""What somebody meets who has just installed this: help, version, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from emt_tasks.commands import app as cli

EMT = Path(sys.executable).with_name("emt")


def test_help_says_where_to_begin(capsys):
    assert cli.main(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for command in ('"emt demo"', '"emt doctor"', "emt check --base MODEL --candidate MY-MODEL"):
        assert command in told


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"emt-eval {version('emt-eval')}\n"


def complete(*typed: str) -> list[str]:
    """What bash is offered after these words, as the completion script asks for it."""
    environment = {**os.environ, "_EMT_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(typed)}
    environment["COMP_CWORD"] = str(len(typed) - 1)
    return subprocess.run([EMT], env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_completion_of_commands_and_options():
    assert complete("emt", "de") == ["demo"]
    assert complete("emt", "gate", "--ma") == ["--margin", "--matrix"]
    assert complete("emt", "data", "to") == ["to-llava"]
