"""Finds the digits that an answer commits to: numerals, Roman numerals, digit words; not sizes, years or list numbers."""

from __future__ import annotations

import re

from judges.lexicon import is_plural
from judges.matcher import Hit, Surface
from judges.vocabulary import Vocabulary

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "VIII": 8, "IX": 9}
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_UNITS = "one two three four five six seven eight nine".split()
_BIG = "hundred thousand million billion dozen".split()

_NUMBER = re.compile(r"(?<![a-z0-9])\d+(?:(?:[.,:\-]|\s?[/x×]\s?)\d+)*(?:st|nd|rd|th|%|\s?%|[a-z]+)?", re.I)
_ALONE = re.compile(r"\d")
_LISTED = re.compile(r"\s?[,/\-]\s?")
# Numbers that say how sure, how good, how large or which one, and not what the image shows.
_BESIDE_THE_POINT = re.compile(
    r"\b(?:confidence|certainty|probability|prob|conf|score|rating|likelihood|accuracy|bbox"
    r"|size|level)s?\b\W{0,3}(?:(?:is|of|level|score|was|at|=)\W{0,3})*\d+(?:[.,/]\d+)*\s?%?(?:\s?(?:out of|/)\s?\d+)?"
    r"|\b(?:step|figure|fig|option|image|photo|picture|question|page|version|line|row|column|example|sample|part|top|table"
    r"|section|chapter|index|item|id|batch|epoch)[ \-#]{1,2}\d+\b"
    r"|\b\d+(?:\.\d+)? ?(?:out of|of) \d+\b|\b\d+ ?/ ?(?:5|10|100)\b(?=[^.\n]*\b(?:sure|confiden|certain|score|rat))"
    r"|\b(?:rate|rated|score|scored|give|grade|graded)\b[^.\n]{0,30}?\d+(?:\s?/\s?\d+)?"
    r"|[\[(]\s*-?\d+(?:\.\d+)?(?:\s*[,;]\s*-?\d+(?:\.\d+)?){3,}\s*[\])]"
    r"|[\[(]\s*-?\d*\.\d+(?:\s*[,;]\s*-?\d+(?:\.\d+)?)*\s*[\])]",
    re.I,
)
_LIST_NUMBER = re.compile(r"(?m)^[ \t]*\(?(\d+)[.)][ \t]+(?=\S)")
_PRONOUN_BEFORE = frozenset(
    "this that which only no any every each another last right same the other first single someone such".split()
)
_AFTER_PRONOUN = frozenset(
    """single handwritten digit number image can could might should must would thing possible object day more another
    hand side person doubt confidence idea""".split()
)
_NUMBER_NOUNS = frozenset("digit number numeral figure is written drawn image".split())
_CHINESE = dict(zip("零〇一二三四五六七八九", (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_CHINESE_NUMERAL = re.compile(
    r"(?:数字|數字|数|是|为|為|[:：])\s*[\"“「']?([零〇一二三四五六七八九])(?![十百千万萬亿个個张張位幅只種种些])|^\s*([零〇一二三四五六七八九])\s*[。.!]?\s*$"
)


def is_numeric(vocabulary: Vocabulary) -> bool:
    """Whether the labels are digits."""
    return all(label.name.isdigit() for label in vocabulary.labels)


def outside_numbers() -> list[str]:
    """Return the spelled-out numbers that hold a digit's name but are no digit ("twenty four", "two hundred")."""
    tens = [f"{ten} {unit}" for ten in _TENS for unit in _UNITS]
    big = [f"{unit} {size}" for unit in [*_UNITS, *_TEENS, *_TENS] for size in _BIG]
    decimals = [f"{first} point {second}" for first in ["zero", *_UNITS] for second in ["zero", *_UNITS]]
    return [*_TEENS, *_TENS, *tens, *big, *decimals]


def find_digits(plain: str, original: str, origin: list[int] | tuple[int, ...]) -> tuple[list[Hit], bool]:
    """Return the single digits and Roman numerals in folded text, and whether it holds a longer number.

    `original` is the answer before folding, for the capitals of Roman numerals; `origin` maps to its offsets.
    """
    ignored = [match.span() for match in _BESIDE_THE_POINT.finditer(plain)]
    hits: list[Hit] = []
    outside = False
    for match in _NUMBER.finditer(plain):
        if any(start < match.end() and match.start() < end for start, end in ignored):
            continue
        parts = _LISTED.split(match.group())
        if all(len(part) == 1 for part in parts):
            hits += [_digit(match.start() + found.start(), found.group()) for found in _ALONE.finditer(match.group())]
        else:
            outside = True
    hits = _without_list_numbers(plain, hits)
    hits += _roman(plain, original, origin)
    for match in _CHINESE_NUMERAL.finditer(plain):
        index = 1 if match.group(1) else 2
        hits.append(Hit(*match.span(index), _surface(_CHINESE[match.group(index)])))
    return [hit for hit in hits if not _is_quantity(plain, hit)], outside


def _surface(value: int) -> Surface:
    return Surface(str(value), frozenset({value}), "name")


def _digit(start: int, digit: str) -> Hit:
    return Hit(start, start + 1, _surface(int(digit)))


def _without_list_numbers(plain: str, hits: list[Hit]) -> list[Hit]:
    """Drop "1." and "2." at the start of lines, where some other digit is left."""
    markers = [match.span(1) for match in _LIST_NUMBER.finditer(plain)]
    values = [plain[start:end] for start, end in markers]
    if values != [str(number) for number in range(1, len(values) + 1)]:
        return hits
    starts = {start for start, _ in markers}
    kept = [hit for hit in hits if hit.start not in starts]
    return kept or hits


def _roman(plain: str, original: str, origin: list[int] | tuple[int, ...]) -> list[Hit]:
    """Return capital Roman numerals; "I" and "V" only where they are the whole answer or called a numeral."""
    hits = []
    whole = plain.strip(" .!\"'*\n")
    for match in re.finditer(r"(?<![a-z0-9'])[ivx]+(?![a-z0-9'])", plain):
        start, end = match.span()
        source = original[origin[start] : origin[end]] if end < len(origin) else ""
        letters = re.sub(r"[^A-Za-z\u2160-\u217f]", "", source)
        numeral = match.group().upper()
        if numeral not in _ROMAN:
            continue
        called = re.search(
            r"(?:numeral|number|digit|answer|is)\W{0,4}(?:is\W{0,3})?$", plain[max(0, start - 16) : start]
        )
        if (
            whole == match.group()
            or (len(numeral) > 1 and (letters.isupper() or letters > "\u2000"))
            or (called and letters.isupper())
        ):
            hits.append(Hit(start, end, _surface(_ROMAN[numeral])))
    return hits


def _is_quantity(plain: str, hit: Hit) -> bool:
    """Whether the digit counts something: "3 strokes", "2 of them"."""
    after = re.match(r"[ \-]([a-z]+)", plain[hit.end :])
    return bool(after) and (
        after.group(1) == "of" or is_plural(after.group(1)) or after.group(1) in {"pixel", "pixels", "bit", "segment"}
    )


def word_is_digit(plain: str, start: int, end: int) -> bool:
    """Whether a digit word names the digit, rather than counting things or standing for one ("this one")."""
    word = plain[start:end]
    before = re.search(r"([a-z]+) $", plain[max(0, start - 16) : start])
    after = re.match(r"([ \-])([a-z]+)", plain[end:])
    if after:
        following = after.group(2)
        if following == "of" or is_plural(following) or (after.group(1) == "-" and following not in _NUMBER_NOUNS):
            return False
        if word in {"one", "zero"} and following in _AFTER_PRONOUN:
            return False
    return not (before and word == "one" and before.group(1) in _PRONOUN_BEFORE)
