"""Reads the nouns of WordNet 3.0's database files: senses, lemmas, hyponyms, and how common each sense is.

The format is that of wndb(5WN); Debian's package `wordnet-base` installs the files in /usr/share/wordnet.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

DEFAULT_FOLDER = Path("/usr/share/wordnet")
_HEX = 16


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning: its byte offset in data.noun, its lemmas (spaces for underscores) and its neighbours' offsets."""

    offset: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    hyponyms: tuple[str, ...]
    instance: bool
    gloss: str

    @property
    def wnid(self) -> str:
        """ImageNet's id of this meaning."""
        return f"n{self.offset}"


@dataclass
class WordNet:
    """WordNet's nouns, read once."""

    folder: Path = DEFAULT_FOLDER
    synsets: dict[str, Synset] = field(init=False)

    def __post_init__(self) -> None:
        lines = (self.folder / "data.noun").read_text(encoding="utf-8").splitlines()
        parsed = (_parse_synset(line) for line in lines if not line.startswith("  "))
        self.synsets = {synset.offset: synset for synset in parsed}

    @cached_property
    def senses(self) -> dict[str, tuple[Synset, ...]]:
        """Lower-case lemma → its meanings, the most frequent first."""
        senses = {}
        for line in (self.folder / "index.noun").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split()
            count = int(fields[2])
            senses[fields[0].replace("_", " ")] = tuple(self.synsets[offset] for offset in fields[-count:])
        return senses

    @cached_property
    def parts_of_speech(self) -> dict[str, str]:
        """Lower-case single word → the letters of its parts of speech, of "nvar", in that order."""
        found: defaultdict[str, str] = defaultdict(str)
        for letter, name in (("n", "noun"), ("v", "verb"), ("a", "adj"), ("r", "adv")):
            for line in (self.folder / f"index.{name}").read_text(encoding="utf-8").splitlines():
                word = line.split(" ", 1)[0]
                if word and "_" not in word and letter not in found[word]:
                    found[word] += letter
        return dict(found)

    def sense(self, lemma: str, number: int = 1) -> Synset:
        """Return one noun meaning of a lemma, counted from 1 as WordNet's own browser does."""
        return self.senses[lemma.lower()][number - 1]

    def by_wnid(self, wnid: str) -> Synset:
        """Return the meaning that ImageNet calls `wnid`."""
        return self.synsets[wnid[1:]]

    def below(self, synset: Synset) -> list[Synset]:
        """Return every hyponym at any depth, without the meaning itself, in a fixed order."""
        return self._closure(synset, "hyponyms")

    def above(self, synset: Synset) -> list[Synset]:
        """Return every hypernym at any height, without the meaning itself, in a fixed order."""
        return self._closure(synset, "hypernyms")

    def _closure(self, synset: Synset, relation: str) -> list[Synset]:
        seen: dict[str, Synset] = {}
        stack = list(reversed(getattr(synset, relation)))
        while stack:
            found = self.synsets[stack.pop()]
            if found.offset not in seen:
                seen[found.offset] = found
                stack.extend(reversed(getattr(found, relation)))
        return list(seen.values())

    def is_main_sense(self, lemma: str, synset: Synset) -> bool:
        """Whether this is what the noun usually means: its most frequent meaning, names of people and places aside."""
        common = [sense for sense in self.senses.get(lemma.lower(), ()) if not sense.instance]
        return bool(common) and common[0].offset == synset.offset


def _parse_synset(line: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    words = int(fields[3], _HEX)
    lemmas = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
    start = 4 + 2 * words + 1
    pointers = [fields[start + 4 * i : start + 4 * i + 4] for i in range(int(fields[start - 1]))]
    return Synset(
        offset=fields[0],
        lemmas=lemmas,
        hypernyms=tuple(p[1] for p in pointers if p[0] in {"@", "@i"}),
        hyponyms=tuple(p[1] for p in pointers if p[0] == "~"),
        instance=any(p[0] == "@i" for p in pointers),
        gloss=gloss.strip(),
    )
