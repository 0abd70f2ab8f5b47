"""Finds every name of a vocabulary in a text in one pass (Aho–Corasick), at word boundaries, longest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import ahocorasick

from judges.fuzzy.text.inflection import plural, plurals, spellings
from judges.fuzzy.text.lexicon import FUNCTION_WORDS, is_word, may_be
from judges.fuzzy.text.normalize import ASCII_TABLE, fold_name
from judges.fuzzy.text.spans import Span, Spans, without_overlaps
from judges.fuzzy.text.wordlists import cue_kinds
from judges.vocabulary import Vocabulary

_RANKS = ("name", "synonym", "subtype")


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One spelling to look for.

    `labels` are the indices of the classes that it stands for; empty for the name of something else and for a cue.
    `cue` is the kind of cue; `pos` the parts of speech of a single word, "" for several words.
    """

    text: str
    labels: frozenset[int] = frozenset()
    how: str = ""
    cue: str = ""
    pos: str = ""


class Hit(NamedTuple):
    """A surface found at [start, end) of the folded text."""

    start: int
    end: int
    surface: Surface


class Finder:
    """An automaton over some surfaces."""

    def __init__(self, surfaces: dict[str, Surface]) -> None:
        self.surfaces = surfaces
        self._automaton: Any = ahocorasick.Automaton()
        for text, surface in self.surfaces.items():
            self._automaton.add_word(f" {text} ", (len(text), surface))
        self._automaton.make_automaton()

    def find(self, words: str) -> list[Hit]:
        """Return the hits in folded text from left to right; of overlapping ones only the longest.

        `words` is as `normalize.Folded` describes: single words in lower case with a blank at either end.
        """
        found = [(end - size, end, surface) for end, (size, surface) in self._automaton.iter(words)]
        if len(found) < 2:
            return [Hit(*hit) for hit in found]
        found.sort(key=lambda hit: hit[0])
        taken: list[Hit] = []
        cluster: list[tuple[int, int, Surface]] = []
        reach = 0
        for hit in found:
            if hit[0] >= reach:
                taken += _longest(cluster)
                cluster = []
            cluster.append(hit)
            reach = max(reach, hit[1])
        return taken + _longest(cluster)


class Matcher(Finder):
    """The automaton over one vocabulary: its names, the names of other things that contain them, and the cues."""

    def __init__(self, vocabulary: Vocabulary, others: Iterable[str] = ()) -> None:
        super().__init__(_surfaces(vocabulary, [*vocabulary.others, *others]))


@cache
def _cue_finder() -> Finder:
    return Finder(_cues())


def cues_beside(words: str, named: Iterable[Span]) -> list[Hit]:
    """Return the cues in folded text from left to right, without those inside names ("No" as an option)."""
    names = Spans(named)
    return [cue for cue in _cue_finder().find(words) if not names.meets(cue.start, cue.end)]


def _longest(overlapping: list[tuple[int, int, Surface]]) -> list[Hit]:
    """Keep the longest of overlapping hits, then those that do not overlap with it, from left to right."""
    if len(overlapping) == 1:
        return [Hit(*overlapping[0])]
    ordered = sorted(overlapping, key=lambda hit: (hit[0] - hit[1], hit[0]))
    taken = [Hit(*ordered[number]) for number in without_overlaps([(start, end) for start, end, _ in ordered])]
    return sorted(taken, key=lambda hit: hit.start)


def _cues() -> dict[str, Surface]:
    return {text: Surface(text, cue=cue) for text, cue in cue_kinds().items()}


def _surfaces(vocabulary: Vocabulary, others: Iterable[str]) -> dict[str, Surface]:
    """Return every spelling with what it stands for, best claim first: a name beats a synonym, a synonym a subtype."""
    owners: dict[str, tuple[int, set[int]]] = {}
    for rank, how in enumerate(_RANKS):
        claims: defaultdict[str, set[int]] = defaultdict(set)
        for label in vocabulary.labels:
            names: Iterable[str] = {"name": (label.name,), "synonym": label.synonyms, "subtype": label.subtypes}[how]
            for name in names:
                for text in _forms(name, how):
                    claims[text].add(label.index)
        for text, labels in claims.items():
            owners.setdefault(text, (rank, labels))
    surfaces = _cues()
    for other in others:
        for text in (fold_name(other), plural(fold_name(other))):
            surfaces[text] = Surface(text, how="other")
    for text, (rank, labels) in owners.items():
        pos = "" if " " in text else "n" + "".join(letter for letter in "var" if may_be(text, letter))
        surfaces[text] = Surface(text, frozenset(labels), _RANKS[rank], pos=pos)
    return surfaces


def _forms(name: str, how: str) -> set[str]:
    """Return the folded spellings of a name in singular and plural."""
    folded = fold_name(name)
    if not folded:
        return set()
    texts = set(spellings(folded))
    if "'" in name:
        texts.update(spellings(fold_name(name.replace("'", ""))))
    # "St. Bernard" leaves two blanks in text that is folded character by character.
    texts.add(name.lower().translate(ASCII_TABLE).strip())
    if how == "subtype" and " " in folded:
        # A marsh mallow is a mallow, a marshmallow is not.
        texts = {text for text in texts if " " in text or not is_word(text)}
    # "Prince of Wales' feathers": the apostrophe leaves a second blank.
    texts |= {text.replace("s ", "s  ", 1) for text in texts if "s " in text and " s " not in text}
    # "does" is no deer.
    forms = texts | set().union(*(plurals(text) for text in texts if not text[-1].isdigit())) - FUNCTION_WORDS
    last = folded.split()[-1]
    if how == "name" and len(last) > 4 and last.endswith("s") and not last.endswith(("ss", "us", "is", "as", "os")):
        forms.add(folded[:-1])
    return forms
