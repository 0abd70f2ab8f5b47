"""Finds misspelt labels if no label was found: close to exactly one class, and not another word.

Which names may be close is looked up, not searched: with at most two wrong letters in a name of several words, one of
its words is as it should be, or two have one wrong letter each, or a blank has moved. Single words are found by what is
left of them without one or two letters (deletion neighbourhoods).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import combinations, pairwise, product

from rapidfuzz import process
from rapidfuzz.distance import OSA

from judges.fuzzy.matching.matcher import Hit, Surface
from judges.fuzzy.text.lexicon import is_word

_SHORTEST = 4
# Names from this length on may have two wrong letters.
_LONG = 8
# Longest answers searched, in words: a page of text is not a misspelt label.
_MOST_WORDS = 60
_BEGINNING = 6
_PLACES = [(range(length), list(combinations(range(length), 2))) for length in range(_BEGINNING + 1)]
"""The places of one letter and of two, by the length of a beginning."""
_KNOWN_TOKENS = 2**16


def allowed_errors(length: int) -> int:
    """Return how many wrong, missing, extra or swapped letters a word of this length may have."""
    if length < _SHORTEST:
        return 0
    return 1 if length < _LONG else 2


class Speller:
    """Looks misspelt names up among a vocabulary's spellings."""

    def __init__(self, surfaces: Mapping[str, Surface]) -> None:
        self._surfaces = surfaces

    @cached_property
    def _index(self) -> _Index:
        """Built for the first answer without a known name: most runs have none."""
        return _Index([text for text, one in self._surfaces.items() if one.labels and len(text) >= _SHORTEST - 1])

    def find(self, words: str) -> list[Hit]:
        """Return misspelt names in folded text, the longest first where they overlap."""
        tokens = list(_tokens(words))
        if len(tokens) > _MOST_WORDS:
            return []
        unknown = [len(token) >= _SHORTEST and _is_no_word(token) for _, token in tokens]
        if not any(unknown):
            return []
        windows = self._index.windows([token for _, token in tokens], unknown)
        hits: list[Hit] = []
        taken: set[int] = set()
        for count, first in sorted(windows, key=lambda window: (-window[0], window[1])):
            window = range(first, first + count)
            if not taken.isdisjoint(window):
                continue
            start = tokens[first][0]
            end = tokens[first + count - 1][0] + len(tokens[first + count - 1][1])
            surface = self._closest(words[start:end], list(windows[count, first]))
            if surface is not None:
                taken.update(window)
                hits.append(Hit(start, end, surface))
        return sorted(hits, key=lambda hit: hit.start)

    def _closest(self, text: str, names: list[str]) -> Surface | None:
        """Return the spelling nearest to the text, None if it is too far or two classes are equally near."""
        cutoff = allowed_errors(len(text))
        # A misspelling nearly always keeps the first letter; a long name may not.
        found = [
            (distance, choice)
            for choice, distance, _ in process.extract(
                text, names, scorer=OSA.distance, score_cutoff=cutoff, limit=None
            )
            if distance <= allowed_errors(min(len(text), len(choice) + 1))
            and (choice[0] == text[0] or len(text) >= _LONG)
            and _other_words_agree(text, choice)
        ]
        if not found:
            return None
        best = min(distance for distance, _ in found)
        nearest = [self._surfaces[choice] for distance, choice in found if distance == best]
        labels = frozenset.intersection(*(surface.labels for surface in nearest))
        return Surface(min(surface.text for surface in nearest), labels, "misspelling") if labels else None


class _Index:
    """Which names may be meant by some words.

    Args:
        names: all spellings, of one word or several.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._without: defaultdict[str, list[str]] = defaultdict(list)
        """Single names by what is left of their beginning without up to two letters, or one where they are short."""
        self._with_word: defaultdict[str, defaultdict[tuple[int, int], list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )
        """Names of several words by one of them, then by its place and their number."""
        self._pairs: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._joined: defaultdict[str, list[str]] = defaultdict(list)
        self._words_without: defaultdict[str, list[str]] = defaultdict(list)
        """Words of pairs by what is left of their beginning without one letter."""
        for name in names:
            words = name.split()
            if len(words) == 1:
                for left in set(_beginnings(name, 2 if len(name) >= _LONG - 1 else 1)):
                    self._without[left].append(name)
                continue
            for place, word in enumerate(words):
                self._with_word[word][place, len(words)].append(name)
            if len(words) == 2:
                self._pairs[words[0], words[1]].append(name)
                self._joined["".join(words)].append(name)
        for word in {word for pair in self._pairs for word in pair}:
            for left in set(_beginnings(word, 1)):
                self._words_without[left].append(word)
        self._longest = max(map(len, (word for name in names for word in name.split())), default=0) + 2
        self._near = lru_cache(maxsize=_KNOWN_TOKENS)(self._looked_up)

    def windows(self, tokens: Sequence[str], unknown: Sequence[bool]) -> dict[tuple[int, int], set[str]]:
        """Return the names that may be meant, by the number of words and the first of them.

        Args:
            tokens: the words of an answer.
            unknown: whether each is no English word; one of a name's words must be such.
        """
        found: defaultdict[tuple[int, int], set[str]] = defaultdict(set)

        def add(first: int, count: int, names: Sequence[str]) -> None:
            if first >= 0 and first + count <= len(tokens) and any(unknown[first : first + count]):
                found[count, first].update(names)

        known = self._with_word
        near = [self._near(token) for token in tokens]
        for place, token in enumerate(tokens):
            if unknown[place] and (names := near[place][0]):
                found[1, place].update(names)
            if token in known:
                self._add_names_with(token, place, add)
        for first, (one, other) in enumerate(pairwise(tokens)):
            if not (unknown[first] or unknown[first + 1]):
                continue
            if (left := near[first][1]) and (right := near[first + 1][1]):
                for pair in product(left, right):
                    if pair in self._pairs:
                        add(first, 2, self._pairs[pair])
            if (joined := one + other) in self._joined:
                add(first, 2, self._joined[joined])
            # A letter that has changed places with the blank: "iris hsetter", "irishs etter".
            if (word := one + other[0]) in known or (word := one[:-1]) in known:
                self._add_names_with(word, first, add)
            if (word := other[1:]) in known or (word := one[-1] + other) in known:
                self._add_names_with(word, first + 1, add)
        return {window: names for window, names in found.items() if names}

    def _add_names_with(self, word: str, place: int, add: Callable[[int, int, Sequence[str]], None]) -> None:
        for (before, count), names in self._with_word[word].items():
            add(place - before, count, names)

    def _looked_up(self, token: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the single names that may be within the errors allowed, and the words of pairs one letter off."""
        if len(token) > self._longest:
            return (), ()
        lefts = _beginnings(token, 1)
        known = self._words_without
        words = [word for left in lefts if left in known for word in known[left]]
        letters = allowed_errors(len(token))
        if letters > 1:
            lefts = _beginnings(token, letters)
        known = self._without
        return [name for left in lefts if left in known for name in known[left]] if letters else (), words


def _beginnings(word: str, letters: int) -> list[str]:
    """Return a word's beginning, and what is left of it without one letter or two.

    Two words so far apart have one of these in common, as long as beginnings have more letters than may be wrong.
    """
    beginning = word[:_BEGINNING]
    places = _PLACES[len(beginning)]
    lefts = [beginning, *[beginning[:place] + beginning[place + 1 :] for place in places[0]]]
    if letters > 1:
        lefts += [beginning[:one] + beginning[one + 1 : other] + beginning[other + 1 :] for one, other in places[1]]
    return lefts


def _other_words_agree(text: str, choice: str) -> bool:
    """Whether the words of the text that are English stand unchanged in the name: "Irish settor" is no other setter."""
    return all(ours == theirs or not is_word(ours) for ours, theirs in zip(text.split(), choice.split(), strict=True))


@lru_cache(maxsize=_KNOWN_TOKENS)
def _is_no_word(token: str) -> bool:
    return token.isalpha() and not is_word(token)


def _tokens(words: str) -> Iterator[tuple[int, str]]:
    position = 0
    for token in words.split(" "):
        if token:
            yield position, token
        position += len(token) + 1
