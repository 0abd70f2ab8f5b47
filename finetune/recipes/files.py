"""From a YAML file and `key=value` overrides to a checked `Recipe`; all faults in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from emt_core.errors import UserError, one_line
from finetune.recipes.schema import Recipe

FOLDER = Path(__file__).parent
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def read(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a file, or of a shipped recipe's name, with `key=value` overrides applied.

    A file may `include` others, whose values it replaces one by one (lists as a whole). Keys of overrides have dots
    (`optimiser.learning_rate=1e-5`, `mixture.sources.0.limit=100`); a key under `parameters` needs no prefix.
    `${some.key}` in a text stands for that value of the recipe, after overrides.

    Raises:
        UserError: no such file, no YAML, or faults in it: all of them, in one line.
    """
    file = find(recipe)
    tree = _read(file)
    parameters = tree.setdefault("parameters", {})
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise UserError(f"override {override!r}: expected key=value, as optimiser.learning_rate=1e-5")
        path = ["parameters", key] if key in parameters else key.split(".")
        _put(tree, path, _parse(value), override)
    try:
        return Recipe.model_validate(_resolved(tree, tree, file))
    except ValidationError as error:
        raise UserError(f"{file}: {_faults(error)}") from None


def names() -> list[str]:
    """Return the names of the shipped recipes, those in folders with the folder."""
    return sorted(file.relative_to(FOLDER).with_suffix("").as_posix() for file in FOLDER.rglob("*.yaml"))


def find(recipe: str) -> Path:
    """Return the file of a recipe: a path, or the name of a shipped one.

    Raises:
        UserError: neither.
    """
    shipped = FOLDER / f"{recipe}.yaml"
    for file in (Path(recipe), shipped):
        if file.is_file():
            return file
    raise UserError(f"recipe {recipe!r}: no such file, and no shipped recipe; those are {', '.join(names())}")


def _read(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file with what it includes."""
    if file in seen:
        raise UserError(f"{file}: includes itself")
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected a mapping of recipe fields, found {type(tree).__name__}")
    included = tree.pop("include", None)
    return _merge(_read(file.parent / str(included), (*seen, file)), tree) if included else tree


class _Loader(yaml.SafeLoader):
    """Reads 1e-5 as a number: YAML 1.1 wants 1.0e-5, and nobody writes that."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _parse(value: str) -> Any:
    try:
        return yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"override value {value!r}: {one_line(error)}") from error


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`; `train` is replaced as a whole, since its keys say what is trained."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "train"
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _put(tree: Any, path: Sequence[str], value: Any, override: str) -> None:
    """Set one value deep in the tree, making mappings on the way."""
    *way, last = path
    for key in way:
        if isinstance(tree, list):
            tree = tree[_position(tree, key, override)]
            continue
        if not isinstance(tree.get(key), (dict, list)):
            tree[key] = {}
        tree = tree[key]
    if isinstance(tree, list):
        tree[_position(tree, last, override)] = value
    else:
        tree[last] = value


def _position(items: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise UserError(f"override {override!r}: {key!r} is no place in a list of {len(items)}; they count from 0")
    return int(key)


def _resolved(value: Any, tree: dict[str, Any], file: Path, depth: int = 0) -> Any:
    """Replace references; a text that is nothing but one reference takes the value's own type."""
    if isinstance(value, dict):
        return {key: _resolved(item, tree, file, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, tree, file, depth) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if depth > 8:
        raise UserError(f"{file}: {value!r} refers to itself")
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _resolved(_look_up(tree, whole[1], file), tree, file, depth + 1)
    return _REFERENCE.sub(lambda found: str(_resolved(_look_up(tree, found[1], file), tree, file, depth + 1)), value)


def _look_up(tree: dict[str, Any], key: str, file: Path) -> Any:
    value: Any = tree["parameters"] if key in tree["parameters"] else tree
    for name in key.split("."):
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise UserError(f"{file}: ${{{key}}} refers to nothing in the recipe") from None
    return value


def _faults(error: ValidationError) -> str:
    """Return all faults in one line, each with its field, what was found and what was expected."""
    faults = [_fault(fault) for fault in error.errors()]
    return (f"{len(faults)} faults: " if len(faults) > 1 else "") + "; ".join(faults)


def _fault(fault: Any) -> str:
    where = ".".join(str(key) for key in fault["loc"] if key != "[key]")
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        near = get_close_matches(key, _fields_at(fault["loc"][:-1]), n=1)
        return f"unknown key {where}" + (f", did you mean {near[0]}?" if near else "")
    if fault["type"] == "missing":
        return f"{where} is missing"
    if not where:
        return message
    found = "" if isinstance(fault["input"], (dict, list)) or fault["type"] == "value_error" else (
        f", found {fault['input']!r}")  # fmt: skip
    return f"{where}: {message[:1].lower()}{message[1:]}{found}"


def _fields_at(location: Sequence[Any]) -> list[str]:
    """Return the field names of the section at a place, to suggest one of them."""
    from finetune.recipes import schema as schema

    sections: dict[Any, type[BaseModel]] = {
        "mixture": schema.Mixture,
        "sources": schema.SourceEntry,
        "train": schema.Part,
        "lora": schema.Lora,
        "optimiser": schema.Optimiser,
        "schedule": schema.Schedule,
        "batch": schema.Batching,
        "save": schema.Save,
        "evaluate": schema.Evaluate,
    }
    known = [sections[key] for key in location if key in sections]
    return list((known[-1] if known else schema.Recipe).model_fields)
