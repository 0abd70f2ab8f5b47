"""Numbers and other people's text, as a reader sees them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leaderboards.statistics import Interval

MINUS = "−"
ABSENT = "–"

_LONGEST = 2000
"""Characters of a model's text that are shown."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a text, and its full length in characters."""

    text: str
    length: int

    @property
    def cut(self) -> bool:
        """Whether something is left out."""
        return len(self.text) < self.length


def excerpt(text: str, longest: int = _LONGEST) -> Excerpt:
    """Return as much of a text as is shown, with unprintable characters made visible."""
    return Excerpt(printable(text[:longest]), len(text))


def packed(part: Excerpt) -> str | list[str | int]:
    """Return a text as the pages' scripts take it; if it was cut, with its full length."""
    return [part.text, part.length] if part.cut else part.text


def printable(text: str) -> str:
    """Replace what HTML forbids by symbols: control characters by ␀ and the like, lone surrogates by �."""
    return _UNSEEN.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "�"


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with `digits` decimals and a real minus sign; a dash for None."""
    if value is None:
        return ABSENT
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"{round(value, digits) + 0:.{digits}f}".replace("-", MINUS)


def sortable(value: float | None) -> str:
    """Return a number for a table to sort by, empty for None; the last digits may differ from run to run."""
    return "" if value is None else f"{value + 0:.8g}"


def bounds(interval: Interval | None, digits: int = 1) -> str:
    """Return an interval's two bounds: "12.3 to 15.0"."""
    if interval is None or interval.lower is None or interval.upper is None:
        return "no interval"
    return f"{number(interval.lower, digits)} to {number(interval.upper, digits)}"


def with_bounds(interval: Interval | None, digits: int = 1) -> str:
    """Return estimate and bounds: "13.6 (12.3 to 15.0)"."""
    if interval is None or interval.estimate is None:
        return ABSENT
    return f"{number(interval.estimate, digits)} ({bounds(interval, digits)})"


def count(value: int | None) -> str:
    """Return a count with thousands separated."""
    return ABSENT if value is None else f"{value:,}".replace(",", "\u202f")


def p_value(value: float | None) -> str:
    """Return a p-value, or only that it is below 0.001."""
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def listed(names: list[str]) -> str:
    """Join names as a sentence does: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
