"""Finds misspelt labels if no label was found: close to exactly one class, and not another word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from rapidfuzz import process
from rapidfuzz.distance import OSA

from judges.fuzzy.matching.matcher import Hit, Surface
from judges.fuzzy.text.lexicon import is_word

_SHORTEST = 4
# Longest answers searched, in words: a page of text is not a misspelt label.
_MOST_WORDS = 60


def allowed_errors(length: int) -> int:
    """Return how many wrong, missing, extra or swapped letters a word of this length may have."""
    if length < _SHORTEST:
        return 0
    return 1 if length < 8 else 2


class Speller:
    """Looks misspelt names up among a vocabulary's spellings."""

    def __init__(self, surfaces: Mapping[str, Surface]) -> None:
        self._by_words: defaultdict[int, list[str]] = defaultdict(list)
        self._surfaces = surfaces
        for text, surface in surfaces.items():
            if surface.labels and len(text) >= _SHORTEST - 1:
                self._by_words[len(text.split())].append(text)

    def find(self, words: str) -> list[Hit]:
        """Return misspelt names in folded text, the longest first where they overlap."""
        tokens = list(_tokens(words))
        if len(tokens) > _MOST_WORDS:
            return []
        unknown = {index for index, (_, token) in enumerate(tokens) if len(token) >= _SHORTEST and _is_no_word(token)}
        hits: list[Hit] = []
        taken: set[int] = set()
        for count in sorted(self._by_words, reverse=True):
            for first in range(len(tokens) - count + 1):
                window = range(first, first + count)
                if unknown.isdisjoint(window) or not taken.isdisjoint(window):
                    continue
                start = tokens[first][0]
                end = tokens[first + count - 1][0] + len(tokens[first + count - 1][1])
                surface = self._closest(words[start:end], count)
                if surface is not None:
                    taken.update(window)
                    hits.append(Hit(start, end, surface))
        return sorted(hits, key=lambda hit: hit.start)

    def _closest(self, text: str, count: int) -> Surface | None:
        """Return the spelling nearest to the text, None if it is too far or two classes are equally near."""
        cutoff = allowed_errors(len(text))
        # A misspelling nearly always keeps the first letter; a long name may not.
        found = [
            (distance, choice)
            for choice, distance, _ in process.extract(
                text, self._by_words[count], scorer=OSA.distance, score_cutoff=cutoff, limit=8
            )
            if distance <= allowed_errors(min(len(text), len(choice) + 1))
            and (choice[0] == text[0] or len(text) >= 8)
            and _other_words_agree(text, choice)
        ]
        if not found:
            return None
        best = min(distance for distance, _ in found)
        nearest = [self._surfaces[choice] for distance, choice in found if distance == best]
        labels = frozenset.intersection(*(surface.labels for surface in nearest))
        return Surface(nearest[0].text, labels, "misspelling") if labels else None


def _other_words_agree(text: str, choice: str) -> bool:
    """Whether the words of the text that are English stand unchanged in the name: "Irish settor" is no other setter."""
    return all(ours == theirs or not is_word(ours) for ours, theirs in zip(text.split(), choice.split(), strict=True))


def _is_no_word(token: str) -> bool:
    return token.isalpha() and not is_word(token)


def _tokens(words: str) -> Iterator[tuple[int, str]]:
    position = 0
    for token in words.split(" "):
        if token:
            yield position, token
        position += len(token) + 1
