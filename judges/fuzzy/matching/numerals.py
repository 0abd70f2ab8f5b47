"""Finds the digits that an answer commits to: numerals, Roman numerals, digit words; not sizes or years."""

from __future__ import annotations

import re
from collections.abc import Sequence

from judges.fuzzy.matching.matcher import Hit, Surface
from judges.fuzzy.text.lexicon import is_plural
from judges.fuzzy.text.spans import Spans
from judges.fuzzy.text.wordlists import NUMBER_WORDS, alternatives, load, word_list
from judges.vocabulary import Vocabulary

_ROMAN = {numeral: value for value, numeral in enumerate(load("numbers")["roman"].split(), start=1)}
_TEENS = NUMBER_WORDS[10:]
_TENS: list[str] = load("numbers")["tens"].split()
_UNITS = NUMBER_WORDS[1:10]
_BIG: list[str] = load("numbers")["sizes"].split()

_CALLED = alternatives("numbers", "called")

_NUMBER = re.compile(r"(?<![a-z0-9])\d+(?:(?:[.,:\-]|\s?[/x×]\s?)\d+)*(?:st|nd|rd|th|%|\s?%|[a-z]+)?", re.I)
_ARTICLE_BEFORE = re.compile(r"\ba $")
_WORD_AFTER = re.compile(r"[ \-]([a-z]+)")
_JOINED_WORD_AFTER = re.compile(r"([ \-])([a-z]+)")
_ALONE = re.compile(r"\d")
_LISTED = re.compile(r"\s?[,/\-]\s?")
# Numbers that say how sure, how good, how large or which one, and not what the image shows.
_BESIDE_THE_POINT = re.compile(
    rf"""
    # "confidence: 0.97", "score is 9/10"
    \b(?:{alternatives("numbers", "measures")})s?\b\W{{0,3}}
        (?:(?:is|of|level|score|was|at|=)\W{{0,3}}){{0,6}}\d+(?:[.,/]\d+)*\s?%?(?:\s?(?:out\ of|/)\s?\d+)?
    # "step 1", "Figure 3"
    | \b(?:{alternatives("numbers", "numbered")})[ \-#]{{1,2}}\d+\b
    # "9 out of 10", "9/10 sure"
    | \b\d+(?:\.\d+)?\ ?(?:out\ of|of)\ \d+\b
    | \b\d+\ ?/\ ?(?:5|10|100)\b(?=[^.\n]{{0,60}}\b(?:{alternatives("numbers", "rated_as")}))
    # "I rate this 5/5"
    | \b(?:{alternatives("numbers", "rates")})\b[^.\n]{{0,30}}?\d+(?:\s?/\s?\d+)?
    # "[12, 4, 30, 41]", "(0.2, 0.8)"
    | [\[(]\s*-?\d+(?:\.\d+)?(?:\s*[,;]\s*-?\d+(?:\.\d+)?){{3,}}\s*[\])]
    | [\[(]\s*-?\d*\.\d+(?:\s*[,;]\s*-?\d+(?:\.\d+)?)*\s*[\])]
    """,
    re.VERBOSE,
)
_LIST_NUMBER = re.compile(r"(?m)^[ \t]*\(?(\d+)[.)][ \t]+(?=\S)")
_PRONOUN_BEFORE = word_list("numbers", "pronoun_before")
_AFTER_PRONOUN = word_list("numbers", "after_pronoun")
_UNIT_NOUNS = word_list("numbers", "unit_nouns")
_NUMBER_NOUNS = word_list("numbers", "number_nouns")
_CHINESE = {"〇": 0} | {numeral: value for value, numeral in enumerate(load("numbers")["chinese"].split())}
_CHINESE_NUMERAL = re.compile(
    rf"(?:{alternatives('numbers', 'chinese_before')})\s*[\"“「']?"
    r"([零〇一二三四五六七八九])(?![十百千万萬亿个個张張位幅只種种些])"
    r"|^\s*([零〇一二三四五六七八九])\s*[。.!]?\s*$"
)


def is_numeric(vocabulary: Vocabulary) -> bool:
    """Whether the labels are digits."""
    return all(label.name.isdigit() for label in vocabulary.labels)


def outside_numbers() -> list[str]:
    """Return the spelled-out numbers that contain a digit's name but are not a digit ("twenty four", "two hundred")."""
    tens = [f"{ten} {unit}" for ten in _TENS for unit in _UNITS]
    big = [f"{unit} {size}" for unit in [*_UNITS, *_TEENS, *_TENS] for size in _BIG]
    decimals = [f"{first} point {second}" for first in ["zero", *_UNITS] for second in ["zero", *_UNITS]]
    return [*_TEENS, *_TENS, *tens, *big, *decimals]


def find_digits(plain: str, original: str, origin: Sequence[int]) -> tuple[list[Hit], bool]:
    """Return the single digits and Roman numerals in folded text, and whether it contains a longer number.

    `original` is the answer before folding, for the capitals of Roman numerals; `origin` maps to its offsets.
    """
    ignored = Spans(match.span() for match in _BESIDE_THE_POINT.finditer(plain))
    hits: list[Hit] = []
    outside = False
    for match in _NUMBER.finditer(plain):
        if ignored.meets(*match.span()):
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
    """Drop "1." and "2." at the start of lines, if some other digit is left."""
    markers = [match.span(1) for match in _LIST_NUMBER.finditer(plain)]
    values = [plain[start:end] for start, end in markers]
    if values != [str(number) for number in range(1, len(values) + 1)]:
        return hits
    starts = {start for start, _ in markers}
    kept = [hit for hit in hits if hit.start not in starts]
    return kept or hits


def _roman(plain: str, original: str, origin: Sequence[int]) -> list[Hit]:
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
        called = re.search(rf"(?:{_CALLED})\W{{0,4}}(?:is\W{{0,3}})?$", plain[max(0, start - 16) : start])
        if (
            whole == match.group()
            or (len(numeral) > 1 and (letters.isupper() or letters > "\u2000"))
            or (called and letters.isupper())
        ):
            hits.append(Hit(start, end, _surface(_ROMAN[numeral])))
    return hits


def _is_quantity(plain: str, hit: Hit) -> bool:
    """Whether the digit counts something: "3 strokes", "2 of them"; not so "a 2 fits"."""
    if _ARTICLE_BEFORE.search(plain[max(0, hit.start - 3) : hit.start]):
        return False
    after = _WORD_AFTER.match(plain, hit.end)
    return after is not None and (after.group(1) in _UNIT_NOUNS or is_plural(after.group(1)))


def word_is_digit(plain: str, start: int, end: int) -> bool:
    """Whether a digit word names the digit, rather than counting things or standing for one ("this one")."""
    word = plain[start:end]
    before = re.search(r"([a-z]+) $", plain[max(0, start - 16) : start])
    after = _JOINED_WORD_AFTER.match(plain, end)
    if after:
        following = after.group(2)
        if following == "of" or is_plural(following) or (after.group(1) == "-" and following not in _NUMBER_NOUNS):
            return False
        if word in {"one", "zero"} and following in _AFTER_PRONOUN:
            return False
    return not (before and word == "one" and before.group(1) in _PRONOUN_BEFORE)
