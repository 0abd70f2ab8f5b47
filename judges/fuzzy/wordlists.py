"""Word lists, written as running text: the long ones in data/*.yaml."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def phrase_set(text: str) -> frozenset[str]:
    """Return the phrases of a text, which stand between bars or on lines of their own."""
    return frozenset(phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|"))


def alternation(words: str) -> str:
    """Return the words of a text as the alternatives of a regular expression."""
    return "|".join(words.split())


@cache
def load(name: str) -> dict[str, str]:
    """Return the texts of data/NAME.yaml by key."""
    import yaml

    texts: dict[str, str] = yaml.safe_load((files("judges.fuzzy") / "data" / f"{name}.yaml").read_text("utf-8"))
    return texts


def word_list(key: str) -> frozenset[str]:
    """Return one word list of data/words.yaml."""
    return word_set(load("words")[key])
