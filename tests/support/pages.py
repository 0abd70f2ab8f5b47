"""What the documentation tells people to type and to write."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(?P<kind>\w*)(?P<info>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title, its text."""

    kind: str
    title: str | None
    body: str


def blocks(page: Path) -> list[Block]:
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    titles = re.compile(r'title="([^"]+)"')
    return [Block(one["kind"], (titles.search(one["info"]) or [None, None])[1], one["body"]) for one in found]


def commands(page: Path) -> list[str]:
    """What stands behind a prompt, in order; a block of bash is one command."""
    found = []
    for block in blocks(page):
        if block.kind == "console":
            lines = [line for line in re.sub(r" \\\n +", " ", block.body).splitlines() if line.strip()]
            assert all(line.startswith("$ ") for line in lines), (page, "a console block holds commands only", lines)
            found += [line.removeprefix("$ ") for line in lines]
        elif block.kind == "bash":
            found.append(block.body)
    return found


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """A command's settings before it (`NAME=value`), and its words without a redirection."""
    parts = shlex.split(command.partition(" > ")[0])
    settings = {}
    while parts and re.match(r"[A-Z_]+=", parts[0]):
        name, _, value = parts.pop(0).partition("=")
        settings[name] = value
    return settings, parts


def emt_words(command: str) -> list[str] | None:
    """What follows `emt`, also under `accelerate launch`; None for another program."""
    _, parts = words(command)
    if parts[0] == "emt":
        return parts[1:]
    if parts[:2] == ["accelerate", "launch"]:
        return parts[parts.index("emt_tasks") + 1 :]
    return None


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line of `emt` as the command itself would, and run nothing."""
    from typer.main import get_command

    from emt_tasks.commands.app import app, take_option

    arguments = list(arguments)
    take_option(arguments, "--include")
    command, name, context = get_command(app), "emt", None
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return context.command_path, context.params
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        name, command, arguments = command.resolve_command(context, rest)
