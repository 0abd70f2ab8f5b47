"""The template environment that the report and the site share: escaping on, undefined names refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line
from leaderboards.report import text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any], *, templates: Path = _TEMPLATES) -> str:
    """Fill in a template; `templates` is its folder, and the report's parts can be included from any."""
    return _environment(templates).get_template(template).render(context)


def write_page(page: str, out: Path, *, overwrite: bool) -> None:
    """Write a page, whole or not at all.

    Raises:
        UserError: the file exists and `overwrite` is off, or it cannot be written.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: name another file or add --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=".page-") as scratch:
            finished = Path(scratch, out.name)
            finished.write_text(page, encoding="utf-8", newline="\n")
            finished.replace(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {one_line(error)}") from error


def _environment(templates: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([templates, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (text.number, text.sortable, text.bounds, text.with_bounds, text.count, text.p_value, text.printable)
    for function in filters:
        environment.filters[function.__name__] = function
    environment.filters["listed"] = lambda names: text.listed(list(names))
    environment.filters["name"] = _name
    environment.filters["fingerprint"] = _fingerprint
    # Keys in the order given: a reader of the page's source meets them as the code lists them.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    return environment


def _name(task: str) -> Markup:
    """Return a task's name, escaped, that may go on in the next line after each underscore."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in text.printable(task).split("_"))


def _fingerprint(script: str) -> str:
    """Return a script's hash as a content security policy names it: the page runs this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
