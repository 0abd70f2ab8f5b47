"""Names that a package offers and imports only on first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`.

    `homes` says which module each name comes from: `__getattr__, __dir__ = lazy(__name__, {"read_run":
    "emt_core.runs"})`, or "module:name" where it has another name there. For type checkers, import the same names under
    `if TYPE_CHECKING`. No name may equal that of a module in the package: importing the module would replace it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        value = getattr(import_module(module), attribute or name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
