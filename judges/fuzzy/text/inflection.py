"""Spellings that one English name can take: plural, joined or split words, British or American."""

from __future__ import annotations

import re
from collections.abc import Iterator

from judges.fuzzy.text.lexicon import is_word, may_be
from judges.fuzzy.text.wordlists import load, word_list

_IRREGULAR: dict[str, str] = load("english")["irregular_plurals"]
_END_COMPOUNDS = word_list("english", "endings_of_compounds")
_AMERICAN_TO_BRITISH: dict[str, str] = load("english")["american_to_british"]
_OTHER_SPELLING = {**_AMERICAN_TO_BRITISH, **{british: us for us, british in _AMERICAN_TO_BRITISH.items()}}
# Either part of a split compound ("stop watch") is at least this long, but for "ox cart".
_SHORTEST_PART = 3
_SHORT_PARTS = word_list("english", "short_parts")


def plurals(name: str) -> set[str]:
    """Return the plurals of a name by its last word: "tiger lilies", "volcanos" and "volcanoes"."""
    return {plural(name), f"{name}es"} if name.endswith("o") else {plural(name)}


def plural(name: str) -> str:
    """Return the usual plural of a name."""
    head, _, last = name.rpartition(" ")
    for singular, many in _IRREGULAR.items():
        if last == singular or (singular in _END_COMPOUNDS and last.endswith(singular)):
            return f"{head} {last[: -len(singular)]}{many}".strip()
    if last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def spellings(name: str) -> Iterator[str]:
    """Yield a folded name and its other spellings, without plurals.

    "lawn mower" is also "lawnmower"; "stopwatch" also "stop watch"; "colts foot" also "coltsfoot"; "theater" also
    "theatre".
    """
    yield name
    words = name.split()
    if any(word in _OTHER_SPELLING for word in words):
        other = " ".join(_OTHER_SPELLING.get(word, word) for word in words)
        yield other
        yield other.replace(" ", "")
    if len(words) > 1:
        yield "".join(words)
        if "s" in words[1:]:
            joined = re.sub(r" s\b", "s", name)
            yield joined
            yield joined.replace(" ", "")
    elif split := split_compound(name):
        yield split
        first, second = split.split()
        if first.endswith("s"):
            # "monkshood" may be written "monk's hood".
            yield f"{first[:-1]} s {second}"


def split_compound(word: str) -> str | None:
    """Return "stop watch" for "stopwatch": two English words, neither of them an affix; None if there are none."""
    for position in range(2, len(word) - _SHORTEST_PART + 1):
        first, second = word[:position], word[position:]
        if len(first) < _SHORTEST_PART and first not in _SHORT_PARTS:
            continue
        if may_be(second, "n") and is_word(first):
            return f"{first} {second}"
    return None
