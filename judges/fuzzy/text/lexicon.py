"""English words and their parts of speech: is this a misspelling or another word, a noun or a verb?

The data (data/lexicon.json) is written by tools/build_lexicon.py from WordNet 3.0.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from judges.fuzzy.text.wordlists import word_list

# WordNet has no function words.
FUNCTION_WORDS = word_list("english", "function_words")

# Words that came up after WordNet 3.0; all nouns.
RECENT_WORDS = word_list("english", "recent_words")


@cache
def parts_of_speech() -> dict[str, str]:
    """Return lower-case word → letters of its parts of speech (noun, verb, adjective, adverb), "" where unknown."""
    data = json.loads((files("judges.fuzzy") / "data" / "lexicon.json").read_text(encoding="utf-8"))
    found = {word: "" if group == "-" else group for group, lines in data["words"].items() for word in _words(lines)}
    found.update(dict.fromkeys(RECENT_WORDS, "n"))
    found.update(dict.fromkeys(FUNCTION_WORDS, "r"))
    return found


def _words(lines: list[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def is_word(token: str) -> bool:
    """Whether a lower-case token is an English word, or a regular form of one."""
    words = parts_of_speech()
    return token in words or any(stem in words for stem in _stems(token))


def is_only_noun(token: str) -> bool:
    """Whether a lower-case token is a noun and nothing else, in the singular or plural.

    A plural whose singular is also a verb ("sails") may be that verb's third person, so it is not only a noun.
    """
    words = parts_of_speech()
    if token in words:
        return words[token] == "n"
    return token.endswith("s") and any(words.get(stem) == "n" for stem in _stems(token))


def is_plural(token: str) -> bool:
    """Whether a lower-case token is a noun's regular plural."""
    words = parts_of_speech()
    return (
        token.endswith("s") and not token.endswith("ss") and any("n" in words.get(stem, "") for stem in _stems(token))
    )


def may_be(token: str, letter: str) -> bool:
    """Whether a lower-case token can be this part of speech: one of n, v, a, r."""
    words = parts_of_speech()
    return letter in words.get(token, "") or any(letter in words.get(stem, "") for stem in _stems(token))


_LAST_LETTERS = frozenset("sdgr")
"""Of all suffixes of regular forms."""


def _stems(token: str) -> list[str]:
    """Return what a token may be a regular form of."""
    stems: list[str] = []
    if token[-1:] not in _LAST_LETTERS:
        return stems
    for suffix, endings in (
        ("ies", "y"),
        ("es", ""),
        ("s", ""),
        ("ied", "y"),
        ("ed", "|e"),
        ("ing", "|e"),
        ("er", "|e"),
    ):
        if token.endswith(suffix) and len(token) > len(suffix) + 1:
            stem = token[: -len(suffix)]
            stems += [stem + ending for ending in endings.split("|")]
            if suffix in {"ed", "ing", "er"} and len(stem) > 2 and stem[-1] == stem[-2]:
                stems.append(stem[:-1])
    return stems
