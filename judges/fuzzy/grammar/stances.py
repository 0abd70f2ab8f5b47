"""Which of the names in an answer it asserts: what is left without those denied, offered, taken back or outranked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from judges.fuzzy import confidence
from judges.fuzzy.grammar import conclusion
from judges.fuzzy.grammar.denial import denied
from judges.fuzzy.grammar.mentions import Mentions
from judges.fuzzy.matching.matcher import Hit
from judges.fuzzy.text.spans import Span
from judges.fuzzy.text.wordlists import alternatives, phrases


def _words(key: str) -> str:
    """Return an expression for one list of data/stances.yaml."""
    return alternatives("stances", key)


_TURNS_IF_FIRST = frozenset(phrases("stances", "turns_if_first"))
_AFTER_NO = re.compile(r"\s?[,:—-]")
_BEFORE_NO_WITHIN = 16
_BEFORE_NO = re.compile(r"[.!?;:\n,—-][\s\"'*_]{0,4}(?:(?:hmm?|ah|oh|well|but|uh|um),? )?$")
# Before a list, what says that the question offers it, and what leaves that open.
_ECHOES = re.compile(rf"\b(?:{_words('echoes')})\b|\b(?:{_words('echoes_right_before')})\b(?=\W*(?:the |an? )?\W*$)")
_OFFERS = re.compile(rf"\b(?:{_words('offers')})\b|\b(?:{_words('offers_right_before')})\b(?=\W*(?:the |an? )?\W*$)")
_OFFERS_TWO = re.compile(rf"\b(?:{_words('offers_two')})\b(?=\W*(?:the |an? )?\W*$)")
_OFFERED_WITHIN = 60
_FEWEST_OFFERED = 3
# What joins the members of a list: signs and articles, or a member that is no known name.
_GLUE = re.compile(
    r"[ \"'*_`()\[\]|-]*(?:(?:[,;/|\n]|\band\b|\bor\b|&)[ \"'*_`()\[\]|-]*){1,3}(?:(?:an?|the|option) ){0,2}"
    r"|, [\w' -]{1,30}, (?:(?:and|or) )?(?:(?:an?|the) )?"
)
_LONGEST_GLUE = 40
SENTENCE_END = re.compile(r"[.!?;](?=\s)")
_SEPARATOR = re.compile(r"[,;/|&]|\b(?:and|or)\b")


@dataclass(slots=True)
class Weighed:
    """Which names count, by number; which are denied; and each decision made on the way, with how sure it is."""

    kept: list[int]
    denied: list[int] = field(default_factory=list)
    notes: list[tuple[str, float]] = field(default_factory=list)
    unanswered: bool = False
    """The answer concludes with something that is none of the names."""

    def keep(self, kept: Sequence[int], note: str, certainty: float) -> None:
        """Keep only some of the names, for a reason."""
        self.kept = list(kept)
        self.notes.append((note, certainty))


def weigh(plain: str, cues: Sequence[Hit], named: Sequence[Span], keys: Sequence[Hashable]) -> Weighed:
    """Return which of the names in folded text count.

    Args:
        plain: folded text.
        cues: what changes the meaning of the names beside it, in order.
        named: where the names are, in order.
        keys: what each of them stands for.
    """
    text = Mentions(plain, cues, named, keys)
    weighed = Weighed(list(range(len(named))))
    _drop_denied(weighed, text)
    if text.differ(weighed.kept):
        _drop_offered(weighed, text)
    if weighed.kept:
        _drop_retracted(weighed, text)
    _keep_conclusion(weighed, text)
    _drop_weak(weighed, text)
    if text.differ(weighed.kept) and _apart(text, weighed.kept):
        weighed.notes.append(("they stand in different sentences", confidence.SEVERAL_SENTENCES))
    return weighed


def only_considered(plain: str, cues: Sequence[Hit], named: Sequence[Span]) -> bool:
    """Whether folded text only considers these names, or compares with them."""
    text = Mentions(plain, cues, named, [None] * len(named))
    numbers = list(range(len(named)))
    return len(text.tentative(numbers) | text.compared(numbers)) == len(named)


def offers(before: str) -> bool:
    """Whether the text before a list says that the question offers it."""
    return bool(_ECHOES.search(before) or _OFFERS.search(before))


def _apart(text: Mentions, numbers: Sequence[int]) -> bool:
    """Whether a sentence ends between names: one of them may be taken back in words that no rule knows."""
    pairs = pairwise(numbers)
    return any(SENTENCE_END.search(text.plain, text.named[one][1], text.named[other][0]) for one, other in pairs)


def _drop_denied(weighed: Weighed, text: Mentions) -> None:
    """Drop the names that the answer denies, and those that it had only considered before."""
    implied = denied(text.plain, text.cues, text.named, text.keys)
    if not implied:
        return
    last = {text.keys[number]: number for number in sorted(implied)}
    before = [number for number in weighed.kept if number < last.get(text.keys[number], -1)]
    replacements = _replacements(text, implied) if before else {}
    replaced = {number for number in before if last[text.keys[number]] < replacements[text.keys[number]]}
    weighed.denied = sorted({*implied, *text.tentative(before), *replaced})
    start, end = text.named[weighed.denied[0]]
    note = f'"{text.original[start:end]}" is denied'
    sure = confidence.DENIED_BY_CONTRAST if any(implied.values()) else confidence.DENIED
    weighed.keep([number for number in weighed.kept if number not in set(weighed.denied)], note, sure)


def _replacements(text: Mentions, implied: Container[int]) -> dict[Hashable, int]:
    """Return, for each thing named, the last name of something else that is not denied."""
    standing = [number for number in range(len(text.named)) if number not in implied]
    last = standing[-1] if standing else -1
    other = max((number for number in standing if text.keys[number] != text.keys[last]), default=-1)
    return {key: other if standing and key == text.keys[last] else last for key in text.keys}


def _drop_offered(weighed: Weighed, text: Mentions) -> None:
    """Drop a list of names that the question offers.

    If nothing but such a list is left, it may be the answer, unless the answer says that the question offers it.
    """
    echoed, offered = set[int](), set[int]()
    for run in _runs(text):
        before = text.before(run[0], _OFFERED_WITHIN)
        differing = len({text.keys[number] for number in run})
        if differing > 1 and _ECHOES.search(before):
            echoed.update(run)
        elif _OFFERS.search(before) if differing >= _FEWEST_OFFERED else differing > 1 and _OFFERS_TWO.search(before):
            offered.update(run)
    offered |= echoed
    kept = [number for number in weighed.kept if number not in offered]
    note = "the options repeated from the question assert nothing"
    if kept and len(kept) < len(weighed.kept):
        weighed.keep(kept, note, confidence.OFFERED)
    elif not kept and echoed.intersection(weighed.kept):
        weighed.keep([number for number in weighed.kept if number not in echoed], note, confidence.OFFERED_ALONE)


def _runs(text: Mentions) -> list[list[int]]:
    """Return the names in runs, each a list as an answer writes it: on one line, or one name a line."""
    runs = [[0]]
    inline = False
    starts = [cue.start for cue in text.cues]
    for number in range(1, len(text.named)):
        before, start = text.named[number - 1][1], text.named[number][0]
        said = bisect_left(starts, before) < bisect_left(starts, start)  # words with a meaning of their own
        joined = start - before <= _LONGEST_GLUE and not said and _GLUE.fullmatch(text.plain, before, start)
        separated = joined and _SEPARATOR.search(text.plain, before, start) is not None
        if joined and (separated or not inline):
            runs[-1].append(number)
            inline = bool(separated)
        else:
            runs.append([number])
            inline = False
    return runs


def _drop_retracted(weighed: Weighed, text: Mentions) -> None:
    """Drop what comes before the last "no wait" or "I mean" that has a name after it."""
    turns = [cue.end for cue in text.cues if takes_back(text.plain, cue)]
    if not turns:
        return
    first, last = text.named[weighed.kept[0]][0], text.named[weighed.kept[-1]][0]
    before = [end for end in turns if end <= last]
    if turns[-1] > last and text.plain[turns[-1] :].strip(" .,;:!?\"'*\n"):
        weighed.unanswered = True
        weighed.notes.append(("may correct itself by a word that is no label", confidence.CORRECTED_BEYOND))
    if before and first < before[-1]:
        kept = [number for number in weighed.kept if text.named[number][0] >= before[-1]]
        weighed.keep(kept, "corrects itself", confidence.CORRECTED)


def takes_back(plain: str, cue: Hit) -> bool:
    """Whether a cue takes back what came before: "actually" only where it opens a clause, "no" only before a sign."""
    if cue.surface.cue == "retraction":
        return cue.surface.text not in _TURNS_IF_FIRST or conclusion.opens_sentence(plain, cue.start)
    if cue.surface.text != "no" or not _AFTER_NO.match(plain, cue.end):
        return False
    return bool(_BEFORE_NO.search(plain[max(0, cue.start - _BEFORE_NO_WITHIN) : cue.start]))


def _keep_conclusion(weighed: Weighed, text: Mentions) -> None:
    """Keep only the names of the stated answer, if there is one; two such answers both count."""
    announced = conclusion.markers(text.plain, text.cues)
    spans = text.spans(weighed.kept)
    weighed.unanswered |= conclusion.unanswered(text.plain, announced, spans)
    if not text.differ(weighed.kept):
        return
    announced += conclusion.settled(text.plain, spans)
    announced += conclusion.remaining(text.plain, [start for start, _ in spans])
    stated = conclusion.stated(text.plain, announced, spans)
    if 0 < len(stated) < len(spans):
        kept = [number for place, number in enumerate(weighed.kept) if place in stated]
        weighed.keep(kept, "the stated answer outranks the rest", confidence.STATED_ANSWER)


def _drop_weak(weighed: Weighed, text: Mentions) -> None:
    """Drop names that others are only compared with, and those only considered before another is given."""
    if not text.differ(weighed.kept):
        return
    compared = text.compared(weighed.kept)
    tentative = text.tentative(weighed.kept) - compared
    strong = [number for number in weighed.kept if number not in compared and number not in tentative]
    if not strong:
        return
    if compared:
        start, end = text.named[min(compared)]
        kept = [number for number in weighed.kept if number not in compared]
        weighed.keep(kept, f'"{text.original[start:end]}" is only compared with', confidence.COMPARED)
    considered = {number for number in tentative if number < strong[-1]}
    if considered:
        start, end = text.named[min(considered)]
        kept = [number for number in weighed.kept if number not in considered]
        weighed.keep(kept, f'"{text.original[start:end]}" is only considered', confidence.CONSIDERED)
