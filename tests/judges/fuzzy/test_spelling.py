"""Misspelt names are found by lookups, and the same ones as by a search through all names."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from rapidfuzz.distance import OSA

from emt_tasks.datasets.vocabularies import load
from judges.fuzzy.matching.matcher import Matcher
from judges.fuzzy.matching.spelling import Speller, allowed_errors
from judges.fuzzy.text.lexicon import is_word

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def misspelt(name: str, errors: int, random_: random.Random) -> str:
    """Return a name with some letters missing, added, replaced, or swapped with the next; blanks count as letters."""
    for _ in range(errors):
        place = random_.randrange(len(name))
        kind = random_.choice(["missing", "added", "replaced", "swapped"])
        letter = random_.choice(LETTERS)
        if kind == "missing" and len(name) > 1:
            name = name[:place] + name[place + 1 :]
        elif kind == "added":
            name = name[:place] + letter + name[place:]
        elif kind == "replaced":
            name = name[:place] + letter + name[place + 1 :]
        else:
            name = name[:place] + name[place + 1 : place + 2] + name[place : place + 1] + name[place + 2 :]
    return name


def searched(speller: Speller, names: list[str], text: str) -> set[str]:
    """Return the spellings that all the rules allow for a whole text, by trying each."""
    found: dict[str, int] = {}
    for name in names:
        distance = OSA.distance(text, name)
        words = list(zip(text.split(), name.split(), strict=False))
        if (
            len(text.split()) == len(name.split())
            and distance <= min(allowed_errors(len(text)), allowed_errors(min(len(text), len(name) + 1)))
            and (name[0] == text[0] or len(text) >= 8)
            and all(ours == theirs or not is_word(ours) for ours, theirs in words)
        ):
            found[name] = distance
    return {name for name, distance in found.items() if distance == min(found.values())}


def samples(names: list[str], count: int) -> Iterator[str]:
    random_ = random.Random(0)
    for _ in range(count):
        yield " ".join(misspelt(random_.choice(names), random_.choice([1, 1, 2]), random_).split())


@pytest.mark.parametrize("vocabulary", ["cifar10", "flowers102"])
def test_lookups_find_what_a_search_finds(vocabulary: str) -> None:
    surfaces = Matcher(load(vocabulary)).surfaces
    names = [text for text, surface in surfaces.items() if surface.labels and len(text) >= 3]
    speller = Speller(surfaces)
    found, missed = 0, []
    for text in samples(names, 400):
        tokens = text.split()
        if not any(len(token) >= 4 and token.isalpha() and not is_word(token) for token in tokens):
            continue
        nearest = searched(speller, names, text)
        labels = frozenset.intersection(*(surfaces[name].labels for name in nearest)) if nearest else frozenset()
        hits = [hit for hit in speller.find(f" {text} ") if (hit.start, hit.end) == (1, len(text) + 1)]
        if labels:
            found += 1
            if not (hits and hits[0].surface.labels == labels):
                missed.append((text, nearest))
        else:
            assert not hits, (text, nearest)
    assert found > 100
    assert not missed


def test_names_with_two_blanks_do_not_fail() -> None:
    """ "Prince of Wales' feathers" leaves two blanks where its apostrophe was."""
    speller = Speller(Matcher(load("imagenet1k")).surfaces)
    speller.find(" prince of walez feathers and so on zqxw ")
