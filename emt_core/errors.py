"""The one exception for mistakes that a user can fix, and faults in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """A mistake in the user's input; its text is one line.

    The line names the file, the field or the flag, what was found and what was expected. Commands print it
    without a traceback and exit with code 2.
    """


def one_line(error: BaseException) -> str:
    """Return the first non-empty line of an exception's text, or its type's name if there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def listed(names: Iterable[object]) -> str:
    """Return names for an error to say what there is; "nothing" where there is none, so that no sentence breaks off."""
    return ", ".join(map(str, names)) or "nothing"


def list_faults(
    errors: Iterable[Mapping[str, Any]], fields_at: Callable[[Sequence[Any]], Iterable[str]] | None = None
) -> list[str]:
    """Return what is wrong with each field of a pydantic model, as `field: fault`.

    Args:
        errors: what `ValidationError.errors()` returns.
        fields_at: returns the field names at a pydantic `loc`. With it, a fault says what was found, and an unknown
            key suggests the nearest field.
    """
    return [_fault(error, fields_at) for error in errors]


def _fault(error: Mapping[str, Any], fields_at: Callable[[Sequence[Any]], Iterable[str]] | None) -> str:
    where = ".".join(str(key) for key in error["loc"] if key != "[key]")
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument") and fields_at is not None:
        near = get_close_matches(str(error["loc"][-1]), list(fields_at(error["loc"][:-1])), n=1)
        return f"unknown key {where}" + (f", did you mean {near[0]}?" if near else "")
    if error["type"] == "missing":
        return f"{where} is missing"
    if not where:
        return message
    shown = fields_at is not None and error["type"] != "value_error" and not isinstance(error["input"], dict | list)
    return f"{where}: {message[:1].lower()}{message[1:]}" + (f", found {error['input']!r}" if shown else "")
