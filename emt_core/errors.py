"""The one exception for mistakes that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave; its text is one line.

    The line names the file, the field or the flag, what was found and what was expected. Commands print it
    without a traceback and exit with code 2.
    """


def one_line(error: BaseException) -> str:
    """Return the first non-empty line of an exception's text, or its type's name where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
