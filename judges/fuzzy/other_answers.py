"""Whether a text that names the right answer gives another, or none: it denies, takes back or only considers it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from judges.fuzzy import confidence
from judges.fuzzy.grammar import conclusion, stances
from judges.fuzzy.grammar.denial import regions
from judges.fuzzy.matching.matcher import Hit, cues_beside
from judges.fuzzy.text.lexicon import FUNCTION_WORDS
from judges.fuzzy.text.normalize import blank, words_of
from judges.fuzzy.text.spans import Span
from judges.fuzzy.text.wordlists import alternatives, word_list
from judges.verdict import Category

Outcome = tuple[Category, float, str]
"""A category, how sure it is, and why."""

ARTICLES = word_list("short_answer", "articles")
GENERIC = word_list("short_answer", "generic")
_STATES = re.compile(rf"\b(?:{alternatives('short_answer', 'states')})\b")
_LISTED_AFTER = re.compile(r"[\s\"'*`_)]{0,4}(?:,|/|\b(?:or|and)\b)")
_LISTED_BEFORE = re.compile(r"(?:,|/|\b(?:or|and)\b)[\s\"'*`_(]{0,4}(?:(?:an?|the) )?$")
_LISTED_WITHIN = 200
_CLAUSE_END = re.compile(r"[.!?;\n]|, ")
_CLAUSE = 200
_VERBS = word_list("short_answer", "verbs")
_UNTELLING = GENERIC | FUNCTION_WORDS | word_list("short_answer", "untelling")
_SENTENCE_END = re.compile(r"[.!?]\s|\n")
# Its full stop ends no sentence: "Peter O. Marlow".
_INITIAL = re.compile(r"\b([a-z])\.")
# Of an answer without end, so much is read, and after so many statements.
_READ, _STATEMENTS = 20_000, 50


def words(plain: str) -> list[str]:
    """Return the words of folded text without articles; "farmer's" and "farmers" are one."""
    found = re.findall(r"[^\W_]+", plain.replace("'", ""))
    return [word for word in found if word not in ARTICLES] or found


def otherwise(plain: str, span: Span, gold: str) -> Outcome | None:
    """Return the verdict on a text that names the right answer and does not give it, None if it gives it."""
    spans = _occurrences(plain, span)
    plain = _INITIAL.sub(r"\1 ", plain)
    cues = cues_beside(words_of(plain), spans)
    weighed = stances.weigh(plain, cues, spans, [gold] * len(spans))
    kept = [spans[number] for number in weighed.kept]
    if not kept:
        answered = _gives(blank(plain, [*regions(plain, cues, spans), *spans]))
        return ("incorrect" if answered else "extrinsic", confidence.DENIED_TEXT, f'denies "{gold}"')
    offered = [span for span in kept if _is_offered(plain, span)]
    weak = len(offered) == len(kept) or stances.only_considered(plain, cues, kept)
    if _concludes_otherwise(plain, cues, kept[-1][1], weak=weak):
        return ("incorrect", confidence.CONSIDERED, f'considers "{gold}" and concludes otherwise')
    if len(offered) == len(kept):
        return ("extrinsic", confidence.OFFERED_ALONE, f'repeats "{gold}" from the question')
    return None


def _concludes_otherwise(plain: str, cues: Sequence[Hit], last: int, *, weak: bool) -> bool:
    """Whether words after the last mention of an answer state another; `weak` where it was only considered."""
    later = [cue.end for cue in cues if cue.start >= last and stances.takes_back(plain, cue)]
    later += [marker.end for marker in conclusion.markers(plain, cues) if marker.end >= last and (weak or marker.final)]
    if weak:
        later += [match.end() for match in _STATES.finditer(plain, last)]
        later += [last for _ in conclusion.SETTLED.finditer(plain, last)]
    following = (plain[end : end + _CLAUSE].lstrip(" .,:;") for end in later[:_STATEMENTS])
    return any(_tells(_CLAUSE_END.split(text, maxsplit=1)[0]) for text in following)


def only_denies(plain: str) -> bool:
    """Whether a text denies something and gives nothing else."""
    plain = _INITIAL.sub(r"\1 ", plain)
    denied = regions(plain, cues_beside(words_of(plain), ()), ())
    return bool(denied) and not _gives(blank(plain, denied))


def _occurrences(plain: str, span: Span) -> list[Span]:
    """Return all places with the same text as one of them."""
    return [match.span() for match in re.finditer(rf"(?<![^\W_]){re.escape(plain[slice(*span)])}(?![^\W_])", plain)]


def _is_offered(plain: str, span: Span) -> bool:
    """Whether an answer stands in a list that the question offers."""
    before = plain[max(0, span[0] - _LISTED_WITHIN) : span[0]]
    before = _SENTENCE_END.split(before)[-1]
    listed = _LISTED_AFTER.match(plain, span[1]) or _LISTED_BEFORE.search(before)
    return listed is not None and stances.offers(before)


def _gives(text: str) -> bool:
    """Whether a text contains what may be an answer: after words that state one, or in a clause without a verb."""
    if conclusion.REFUSAL.search(text):
        return False
    stated = [match.end() for match in _STATES.finditer(text)]
    stated += [marker.end for marker in conclusion.markers(text, cues_beside(words_of(text), ()))]
    clauses = [_CLAUSE_END.split(text[end : end + _CLAUSE], maxsplit=1)[0] for end in stated[-_STATEMENTS:]]
    clauses += [
        clause
        for clause in _CLAUSE_END.split(text[:_READ])
        if conclusion.SETTLED.search(clause) or _VERBS.isdisjoint(clause.split())
    ]
    return any(map(_tells, clauses))


def _tells(clause: str) -> bool:
    """Whether a clause has words of its own, and is no refusal."""
    return bool(words(clause)) and not _UNTELLING.issuperset(words(clause)) and not conclusion.REFUSAL.search(clause)
