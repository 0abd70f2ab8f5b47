"""Names fit to publish: where a model lies on somebody's disk is nobody else's business.

Whatever leaves this machine, a report, a site, an export, JSON, names models and judges by these functions alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[\w-][\w.-]*")
_SEPARATOR = re.compile(r"[\\/]+|(?<![^\\/])[A-Za-z]:(?![\\/])")
_HOME = re.compile(r"(?:.*[\\/])?(?:home|users)[\\/]+[^\\/]+|/root|(?:.*[\\/])?~[^\\/]*", re.IGNORECASE)
_NEXT_ARGUMENT = re.compile(r",(?=\s*[\w.-]+=)")
_SECRET = re.compile(r"(?:.*_)?(?:key|token|secret|password)", re.IGNORECASE)


def is_hub_name(name: str) -> bool:
    """Whether this is ORG/NAME and no folder of that name is here."""
    return len(name) < 200 and _HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def public_name(name: str) -> str:
    """Return a model's name on the hub as it is, and a path's last folder.

    A home folder, and a path that ends in none, becomes `local-` and a hash.
    """
    text = name.strip()
    if is_hub_name(text):
        return text
    if not _SEPARATOR.search(text) and not text.startswith(("~", ".")):
        return text
    path = text.rstrip("\\/\"'")
    last = _SEPARATOR.split(path)[-1].strip()
    unnamed = not last.strip(". ") or _HOME.fullmatch(path) is not None
    return f"local-{digest(text)}" if text and unnamed else last


def public_folder(path: Path) -> str:
    """Return what a run is called after the folder that it lies in: lmms-eval names that by the model's last folders.

    ORG/NAME is a folder ORG__NAME there, and so is a model that lies in ORG: the last part stands for both.
    """
    name = public_name(str(path.resolve()))
    last = name.rpartition("__")[2].strip(". ~")
    return last if last and not _HOME.fullmatch(name.replace("__", "/")) else f"local-{digest(path.name)}"


def public_arguments(arguments: str | Mapping[str, Any] | None) -> str | None:
    """Return lmms-eval's `model_args` with each path as its last folder, and no key or token; None where empty."""
    if isinstance(arguments, Mapping):
        arguments = ",".join(f"{name}={value}" for name, value in arguments.items())
    return ",".join(map(_public_argument, _NEXT_ARGUMENT.split(arguments))) if arguments else None


def named_arguments(arguments: str | Mapping[str, Any] | None) -> dict[str, str]:
    """Return lmms-eval's `model_args` by name, as they are: they may hold paths, and are not fit to publish."""
    if isinstance(arguments, Mapping):
        return {str(name): str(value) for name, value in arguments.items()}
    return dict(part.partition("=")[::2] for part in _NEXT_ARGUMENT.split(arguments)) if arguments else {}


def _public_argument(argument: str) -> str:
    name, separator, value = argument.partition("=")
    if not separator:
        return public_name(argument)
    return f"{public_name(name)}={'…' if _SECRET.fullmatch(name.strip()) else public_name(value)}"


def public_judge(judge: str) -> str:
    """Return a judge's name, `llm:MODEL`, with the model's public name."""
    kind, separator, model = judge.partition(":")
    return f"{public_name(kind)}{separator}{public_name(model)}"


def digest(text: str) -> str:
    """Return eight digits that tell one name from another and do not give it away."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
