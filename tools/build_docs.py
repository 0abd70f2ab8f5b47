"""Write the reference pages of the documentation from the code: commands, recipes, policy, judges.

Run: python -m tools.build_docs            (tests/docs checks that the pages in docs/reference are up to date)
"""

from __future__ import annotations

import argparse
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/build_docs.py; change the code instead. -->\n"


def commands_page() -> str:
    """Every command with its arguments and options, from the Typer apps."""
    from emt_tasks.commands.app import app

    parts = [
        NOTE,
        "# Commands\n",
        "`emt COMMAND --help` prints the same. Exit codes: 0 all went well; 1 forgetting (`emt gate`, `emt check`); "
        "2 a failure, told in one line; 3 an internal error; 130 Ctrl-C. `--debug` shows the traceback. "
        "`emt --install-completion` sets up completion for your shell.\n",
    ]
    parts += [_command(*found) for found in all_commands(get_command(app), "emt")]
    return "\n".join(parts)


def all_commands(group: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each command below a group: the words that call it, the command, its context.

    A default command (`emt judge RUN` beside `emt judge agreement`) goes by its group's name.
    """
    context = group.make_context(path, [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        called = f"{path} {name}"
        if not hasattr(command, "list_commands"):
            yield called, command, context
            continue
        for words, sub, inner in all_commands(command, called):
            yield (called if words.endswith(" answers") else words), sub, inner


def _command(path: str, command: Any, context: Any) -> str:
    records = [
        record
        for item in command.params
        if not {"--help", "--install-completion", "--show-completion"} & set(item.opts)
        and (record := item.get_help_record(context))
    ]
    text = [f"## {path}\n", _paragraphs(command.help), _paragraphs(command.epilog)]
    if records:
        text.append("| argument | meaning |\n|---|---|")
        text += [f"| `{_cell(names)}` | {_cell(words)} |" for names, words in records]
    return "\n".join(part for part in text if part) + "\n"


def _paragraphs(text: str | None) -> str:
    """Rewrap help text; a paragraph that is one example becomes code."""
    lines = [" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text or ""))]
    shown = [
        re.sub(r"^Example: ((?:(?!: ).)+)$", r"Example: `\1`", line).replace("*", r"\*") + "\n"
        for line in lines
        if line
    ]
    return "\n".join(shown)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", r"\|")


def recipes_page() -> str:
    """The shipped recipes, and each section of a recipe with its fields."""
    from finetune.recipes import files as recipe_file
    from finetune.recipes import schema as recipe

    parts = [
        NOTE,
        "# Recipes\n",
        "A recipe is a YAML file: `emt finetune RECIPE.yaml`. Change a field on the command line by its path: "
        "`optimiser.learning_rate=1e-5`, `mixture.sources.0.limit=100`. A file may `include` another and override what "
        "differs. `${name}` refers to a value under `parameters`, `${batch.size}` to any field: the syntax "
        "is [OmegaConf's](https://omegaconf.readthedocs.io). All faults of a recipe are reported at once, before "
        "anything loads. `--dry-run` prints the resolved recipe.\n",
        "## Shipped recipes\n",
    ]
    files = sorted(recipe_file.FOLDER.rglob("*.yaml"))
    for file in (file for file in files if not file.name.startswith("_")):
        name = file.relative_to(recipe_file.FOLDER).with_suffix("").as_posix()
        parts.append(f"### {name}\n\n```text\n{_header(file)}\n```\n")
    parts.append("## Fields\n")
    own = (one for one in vars(recipe).values() if isinstance(one, type) and issubclass(one, BaseModel))
    sections = [one for one in own if one.model_fields and one is not recipe.Recipe]
    sections.insert(0, recipe.Recipe)
    parts += [_section(section) for section in sections]
    return "\n".join(parts)


def _header(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in comments)


def _kept(page: str, heading: str) -> str:
    """Return a page's hand-written part, from this heading on, so that writing the page anew keeps it."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return f"\n{heading}{text.partition(heading)[2]}".rstrip()


def policy_page() -> str:
    """The fields of a gate's policy."""
    from leaderboards.gate import policy

    return "\n".join(
        (
            NOTE,
            "# Gate policy\n",
            "`emt gate BASE CANDIDATE --policy gate.yaml` reads its margins from a file; `--margin` is short for a "
            "policy that sets nothing else. Unknown keys are refused, and so are margins for tasks that are not "
            "there.\n",
            f"```yaml\n{policy.EXAMPLE}```\n",
            _table(policy.Policy),
            _kept("policy.md", "## What the default can decide"),
        )
    )


def judges_page() -> str:
    """The judges' settings, from their dataclasses."""
    from dataclasses import MISSING, fields

    from judges import settings

    parts = [
        NOTE,
        "# Judges\n",
        "A task uses the judge named by `--judge`, else by `$EMT_JUDGE`, else `fuzzy`. A judge's settings "
        "come from the environment, read when the judge is created. [How to choose one](../tutorials/judge.md).\n",
    ]
    names = {
        "cascade": settings.CascadeSettings,
        "llm, emt-paper": settings.LLMSettings,
        "panel": settings.PanelSettings,
        "embedding": settings.EmbeddingSettings,
    }
    for name, kind in names.items():
        parts.append(
            f"## {name}\n\n{_cell(inspect.getdoc(kind))}\n\n| setting | environment | default |\n|---|---|---|"
        )
        for field in fields(kind):
            variables = ", ".join(f"`{name}`" for name in field.metadata.get("variables", ()))
            if field.default is not MISSING:
                default = "" if field.default is None else f"`{field.default}`"
            else:
                default = "`~/.cache/emt-eval/judge.sqlite`; `off` for none" if field.name == "cache" else ""
            parts.append(f"| `{field.name}` | {variables} | {default} |")
        parts.append("")
    parts.append("`fuzzy` has no settings.\n")
    return "\n".join(parts)


def _section(model: type[BaseModel]) -> str:
    title = model.__name__
    own = inspect.cleandoc(model.__doc__ or "")
    paragraphs = "\n\n".join(" ".join(part.split()) for part in own.split("\n\n"))
    return f"### {title}\n\n{paragraphs}\n\n{_table(model)}"


def _table(model: type[BaseModel]) -> str:
    described = any(field.description for field in model.model_fields.values())
    head = "| field | type | default |" + (" meaning |" if described else "")
    rows = [head, "|---|---|---|" + ("---|" if described else "")]
    for name, field in model.model_fields.items():
        row = f"| `{name}` | {_shown(field.annotation)} | {_field_default(field)} |"
        rows.append(row + (f" {_cell(field.description)} |" if described else ""))
    return "\n".join(rows) + "\n"


def _field_default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple) and value:
        return f"`{list(value)}`"
    return "" if value in (None, {}, ()) else f"`{value}`"


def _shown(annotation: Any) -> str:
    """A type as a reader of YAML thinks of it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shown(inner[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is not None and issubclass(origin, dict | typing.Mapping if isinstance(origin, type) else ()):
        return f"{_shown(inner[0])}: {_shown(inner[1])}"
    if origin in (tuple, list):
        kinds = [kind for kind in inner if kind is not Ellipsis]
        return "list of " + " and ".join(dict.fromkeys(_shown(kind) for kind in kinds))
    if inner:
        return " or ".join(_shown(kind) for kind in inner if kind is not type(None))
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


PAGES = {
    "commands.md": commands_page,
    "recipes.md": recipes_page,
    "policy.md": policy_page,
    "judges.md": judges_page,
}


def main() -> None:
    """Write the pages; with --check, only name those that are out of date, and fail if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    pages = {REFERENCE / name: page() for name, page in PAGES.items()}
    old = [file for file, text in pages.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    for file in old:
        print(file)
        if not check:
            file.write_text(pages[file], encoding="utf-8")
    if check and old:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
