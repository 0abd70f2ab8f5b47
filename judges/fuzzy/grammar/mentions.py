"""The names in an answer with the cues beside them: which does it only consider, or compare with?"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from judges.fuzzy.grammar.denial import CLAUSE_END, past_statement
from judges.fuzzy.matching.matcher import Hit
from judges.fuzzy.text.spans import Places, Span, Spans
from judges.fuzzy.text.wordlists import alternatives, phrases


def _words(key: str) -> str:
    """Return an expression for one list of data/stances.yaml."""
    return alternatives("stances", key)


# Any letter does that occurs in no word: it stands for those of a name, whose full stops end no sentence.
_OPAQUE = "ǂ"
_CONTRAST = re.compile(rf"\b(?:{_words('contrasts')})\b|[,;]\s*(?:{_words('contrasts_after_comma')})")
_APPEARANCE = frozenset(phrases("stances", "appearances"))
_TENTATIVE_AFTER = re.compile(rf"[\"'*_)\].]{{0,9}}\s?(?:\?|(?:{_words('tentative_after')})\b)")
_NEAR = 40


class Mentions:
    """Folded text whose names are opaque, with the names, what they stand for, and the cues beside them."""

    def __init__(self, plain: str, cues: Sequence[Hit], named: Sequence[Span], keys: Sequence[Hashable]) -> None:
        self.original = plain
        self.plain = opaque(plain, named)
        self.cues = cues
        self.named = named
        self.keys = keys
        self.kinds = {cue.surface.cue for cue in cues}

    def spans(self, numbers: Sequence[int]) -> list[Span]:
        """Return where some of the names are."""
        return [self.named[number] for number in numbers]

    def differ(self, numbers: Sequence[int]) -> bool:
        """Whether some of the names stand for different things."""
        return len({self.keys[number] for number in numbers}) > 1

    def before(self, number: int, length: int) -> str:
        """Return the text right before a name."""
        start = self.named[number][0]
        return self.plain[max(0, start - length) : start]

    def tentative(self, numbers: Sequence[int]) -> set[int]:
        """Return which of the names the text only considers: "it could be a cat", "a cat comes to mind"."""
        found = {number for number in numbers if _TENTATIVE_AFTER.match(self.plain, self.named[number][1])}
        if "tentative" in self.kinds:
            clause_ends = Places(CLAUSE_END, self.plain)
            ends = [past_statement(self.plain, cue) for cue in self.cues if cue.surface.cue == "tentative"]
            scopes = Spans((end, clause_ends.first(end)) for end in ends)
            found |= {number for number in numbers if scopes.covers(self.named[number][0])}
        return found

    def compared(self, numbers: Sequence[int]) -> set[int]:
        """Return the names that a cue of comparison reaches: up to a comma, and not far."""
        if "comparison" not in self.kinds:
            return set()
        plain = self.plain
        contrast = Places(_CONTRAST, plain)
        compared = []
        for cue in self.cues:
            if cue.surface.cue != "comparison":
                continue
            if cue.surface.text in _APPEARANCE and contrast.first(cue.end) == len(plain):
                continue
            near = cue.end + _NEAR
            limit = CLAUSE_END.search(plain, cue.end, near + _NEAR)  # a phrase may reach past what is near
            compared.append(
                (cue.end, min(limit.start() if limit else near, plain.find(",", cue.end, near) % (near + 1)))
            )
        scopes = Spans(compared)
        return {number for number in numbers if scopes.covers(self.named[number][0])}


def opaque(plain: str, named: Sequence[Span]) -> str:
    """Return the text with each name of several words as one word, so that no sign or word in a name has a meaning."""
    if all(plain[start:end].isalnum() for start, end in named):
        return plain
    pieces, position = [], 0
    for start, end in named:
        if start >= position:
            pieces += [plain[position:start], _OPAQUE * (end - start)]
            position = end
    return "".join([*pieces, plain[position:]])
