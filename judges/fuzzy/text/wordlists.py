"""The words and phrases of the rules, from data/*.yaml; one file per use; its header says what it is for.

Words are separated by blanks, phrases by bars or line breaks. Phrases for `alternatives` may contain parts of
regular expressions; in them an asterisk stands for the rest of a word.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

# The C loader reads these files about ten times as fast; not every build of PyYAML has it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load(name: str) -> dict[str, Any]:
    """Return the lists of data/NAME.yaml by key."""
    text = (files("judges.fuzzy") / "data" / f"{name}.yaml").read_text("utf-8")
    lists: dict[str, Any] = yaml.load(text, Loader=_Loader)
    return lists


def word_list(name: str, key: str) -> frozenset[str]:
    """Return the words of one list."""
    return frozenset(load(name)[key].split())


def phrases(name: str, key: str) -> list[str]:
    """Return the phrases of one list, in order."""
    return [phrase.strip() for line in load(name)[key].strip().splitlines() for phrase in line.split("|")]


def alternatives(name: str, key: str) -> str:
    """Return the phrases of one list as the alternatives of a regular expression, in order."""
    return "|".join(phrases(name, key)).replace("*", r"\w*")


@cache
def cue_kinds() -> dict[str, str]:
    """Return phrase → kind of cue, from data/cues.yaml: a phrase that changes what a label beside it means."""
    return {phrase: kind for kind in load("cues") for phrase in sorted(set(phrases("cues", kind)))}


NUMBER_WORDS = tuple(load("numbers")["up_to_nineteen"].split())
