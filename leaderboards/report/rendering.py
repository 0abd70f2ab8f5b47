"""Fill in the templates that the report and the site share: escaping on, undefined names refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from leaderboards.report import overlaps, text

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any], *, templates: Path = _TEMPLATES) -> str:
    """Fill in a template; `templates` is its folder, and the report's parts can be included from any."""
    return _environment(templates).get_template(template).render(context)


def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([templates, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (text.number, text.sortable, text.bounds, text.with_bounds, text.count, text.p_value, text.printable)
    for function in (*filters, overlaps.ring_radius, overlaps.dashes):
        environment.filters[function.__name__] = function
    environment.filters["listed"] = lambda names: text.listed(list(names))
    environment.filters["name"] = _name
    environment.filters["fingerprint"] = _fingerprint
    # Keys in the order given: the page's source has them as the code lists them.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    return environment


def _name(task: str) -> Markup:
    """Return a task's name, escaped, that may break after each underscore."""
    return Markup("_<wbr>").join(escape(part) for part in text.printable(task).split("_"))


def _fingerprint(script: str) -> str:
    """Return a script's hash as a content security policy names it: the page runs this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
