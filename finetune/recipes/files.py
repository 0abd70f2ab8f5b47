"""From a YAML file and `key=value` overrides to a checked `Recipe`; all faults in one line.

OmegaConf reads, merges and interpolates; meanwhile, a recipe's parameters are beside its fields.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from emt_core.errors import UserError, list_faults, one_line
from finetune.recipes.schema import Recipe

FOLDER = Path(__file__).parent


def read(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a file, or of a shipped recipe's name, with `key=value` overrides applied.

    A file may `include` another and override single values (lists as a whole). Keys of overrides have dots
    (`optimiser.learning_rate=1e-5`, `mixture.sources.0.limit=100`); a key under `parameters` needs no prefix.
    `${some.key}` refers to that value of the recipe, and `${name}` to a parameter, after overrides.

    Raises:
        UserError: no such file, not YAML, or faults in it: all of them, in one line.
    """
    file = find(recipe)
    tree = _load(file)
    with _one_line(file):
        fields = _resolved(tree, overrides, file)
    return checked(fields, file)


def checked(fields: Mapping[Any, Any], where: object) -> Recipe:
    """Return the recipe with these fields; `where` names it in messages.

    Raises:
        UserError: faults in it, all of them, in one line.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        faults = list_faults(error.errors(), fields_at)
        counted = f"{len(faults)} faults: " if len(faults) > 1 else ""
        raise UserError(f"{where}: {counted}{'; '.join(faults)}") from None


def changed(fields: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Return a recipe's fields with one `key=value` override applied.

    Raises:
        UserError: it is no such override, or its value is not YAML.
    """
    tree = OmegaConf.create(dict(fields))
    _change(tree, override_key(override), override)
    return cast(dict[str, Any], OmegaConf.to_container(tree))


def shipped_recipes() -> list[str]:
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
    raise UserError(
        f"recipe {recipe!r}: neither a file nor a shipped recipe; shipped are {', '.join(shipped_recipes())}"
    )


def fields_at(place: Sequence[Any]) -> list[str]:
    """Return the field names of the recipe section at a pydantic `loc`."""
    section: type[BaseModel] = Recipe
    for key in place:
        if key in section.model_fields:
            section = next(_models(section.model_fields[key].annotation), section)
    return list(section.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a field's type: `Part` of `dict[PartName, Part | None]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _load(file: Path, seen: tuple[Path, ...] = ()) -> DictConfig:
    """Read a file with everything that it includes."""
    if file in seen:
        raise UserError(f"{file}: includes itself")
    try:
        with _one_line(file):
            tree = OmegaConf.load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, DictConfig):
        raise UserError(f"{file}: expected a mapping of recipe fields, found a list")
    included = tree.pop("include", None)
    if not included:
        return tree
    base = _load(file.parent / str(included), (*seen, file))
    if "train" in list(tree):  # its keys say what is trained: they must not be merged
        base = OmegaConf.masked_copy(base, [str(key) for key in base if key != "train"])
    with _one_line(file):
        return cast(DictConfig, OmegaConf.merge(base, tree))


def _resolved(tree: DictConfig, overrides: Sequence[str], file: Path) -> dict[Any, Any]:
    """Return a recipe's fields with overrides applied and interpolations resolved."""
    known = tree.get("parameters") or {}
    changes = [(key, override) for override in overrides for key in [_key(override, known)]]
    for key, override in changes:
        if key.startswith("parameters."):
            _change(tree, key, override)
    fields = cast(dict[str, Any], OmegaConf.to_container(tree))
    given = fields.get("parameters")
    parameters = given if isinstance(given, dict) else {}
    for name in parameters:
        if name in fields and fields[name] != f"${{{name}}}":
            raise UserError(f"{file}: parameters.{name}: the recipe also has a field {name}; rename the parameter")
    whole = OmegaConf.create({**fields, **parameters})
    for key, override in changes:
        if not key.startswith("parameters."):
            _change(whole, key, override)
    resolved = cast(dict[Any, Any], OmegaConf.to_container(whole, resolve=True, throw_on_missing=True))
    return {key: value for key, value in resolved.items() if key in fields or key not in parameters}


def override_key(override: str) -> str:
    """Return the key of a `key=value` override.

    Raises:
        UserError: it is none.
    """
    key, separator, _ = override.partition("=")
    if not separator or not key:
        raise UserError(f"override {override!r}: expected key=value, such as optimiser.learning_rate=1e-5")
    return key


def _key(override: str, parameters: Container[str]) -> str:
    """Return the path that an override changes, with the prefix for a parameter."""
    key = override_key(override)
    return f"parameters.{key}" if key in parameters else key


def _change(tree: DictConfig, key: str, override: str) -> None:
    """Set one value deep in the tree, creating mappings on the way."""
    text = override.partition("=")[2]
    try:
        value = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"])))["value"]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"override value {text!r}: {one_line(error)}") from error
    try:
        OmegaConf.update(tree, key, value, merge=False)
    except (OmegaConfBaseException, TypeError) as error:
        raise UserError(
            f"override {override!r}: no such field in the recipe ({one_line(error)}); list items count from 0"
        ) from error


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Report OmegaConf's errors in one line, with the file and the field."""
    try:
        yield
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if error.full_key else ""
        message = one_line(error)
        raise UserError(f"{file}: {where}{message[:1].lower()}{message[1:]}") from error
