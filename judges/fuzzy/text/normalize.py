"""Folds text for matching: case, accents, width, punctuation, keeping where each character came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# All of ASCII but letters and digits becomes a space, one for one, so that offsets stay.
ASCII_TABLE = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})
_BLANK_RUN = re.compile(r"\s\s")
_KEYCAP_TEN = "\N{KEYCAP TEN}"
_VISIBLE = re.compile(r"[^\n]")
_APOSTROPHES = frozenset("'’‘`´ʼ＇")
# Scripts written without spaces: a label beside such a character stands alone.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3100-\u318f\u31a0-\u31ff\u3400-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Folded(NamedTuple):
    """Text ready to match: `words` has lower-case letters, digits and blanks for all else, a blank at either end.

    `plain` is the same text, character for character, with its punctuation. `origin[i]` is the offset in the
    answer as the model wrote it of character i of both.
    """

    words: str
    plain: str
    origin: Sequence[int]


def fold_simple(text: str) -> Folded:
    """Fold ASCII text without runs of blanks, where nothing moves."""
    lower = text.lower()
    return Folded(f" {lower.translate(ASCII_TABLE)} ", f" {lower} ", range(-1, len(text) + 1))


def fold(text: str) -> Folded:
    """Fold any text: NFKC, case, accents, zero-width characters; runs of blanks between words become one."""
    one_for_one = all(len(_FOLDS[ord(char)]) == 1 for char in set(text))
    if one_for_one and not text[:1].isspace() and not _BLANK_RUN.search(text):
        same = f" {text.translate(_FOLDS)} "  # nothing moves
        return Folded(same.translate(_WORDS), same, [0, *range(len(text) + 1)])
    plain: list[str] = [" "]
    origin = [0]
    for offset, char in enumerate(text):
        for folded in _FOLDS[ord(char)]:
            if folded in " \n" and plain[-1] in " \n":
                # One blank stands for a run of them; a line break in the run wins.
                plain[-1] = "\n" if folded == "\n" and len(plain) > 1 else plain[-1]
                continue
            plain.append(folded)
            origin.append(offset)
    plain.append(" ")
    origin.append(len(text))
    text = "".join(plain)
    return Folded(text.translate(_WORDS), text, origin)


class _Folds(dict[int, str]):
    """What each character is folded to, by its code; found when it first occurs."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = char.lower() if char.isascii() else _fold_char(char)
        folded = "".join(("\n" if one in "\n\r\u2028\u2029" else " ") if one.isspace() else one for one in folded)
        return self.setdefault(code, folded)


class _WordCharacters(dict[int, str]):
    """A blank for what is in no word, by its code."""

    def __missing__(self, code: int) -> str:
        return self.setdefault(code, chr(code) if _is_word_char(chr(code)) else " ")


_FOLDS, _WORDS = _Folds(), _WordCharacters()


def words_of(plain: str) -> str:
    """Return the `words` of folded text, from its `plain`."""
    return plain.translate(_WORDS)


def _fold_char(char: str) -> str:
    """Return what one non-ASCII character matches as; empty for what cannot be seen."""
    if char == _KEYCAP_TEN:
        return "10"
    if char in _APOSTROPHES:
        return "'"
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(char) in {"Cf", "Mn", "Me", "Cs", "Co", "Cn"}:
        return ""
    if unicodedata.category(char) == "Pd":
        return "-"
    decomposed = unicodedata.normalize("NFKD", char)
    kept = "".join(part for part in decomposed if not unicodedata.combining(part)).casefold()
    return "".join({"ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ł": "l", "ı": "i"}.get(part, part) for part in kept)


def _is_word_char(char: str) -> bool:
    return char.isalnum() and (char.isascii() or not _UNSPACED.match(char))


def fold_name(name: str) -> str:
    """Return a label's name as it would appear in folded text, without the outer spaces."""
    return " ".join(fold(name).words.split())


def blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with some spans blanked and line breaks kept, so that offsets stay valid."""
    pieces = []
    position = 0
    for start, end in sorted(spans):
        start = max(start, position)
        if start < end:
            pieces += [text[position:start], _VISIBLE.sub(" ", text[start:end])]
            position = end
    return "".join([*pieces, text[position:]])
