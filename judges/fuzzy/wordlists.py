"""Word lists, written as running text where they are long."""

from __future__ import annotations

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
