"""Finds where an answer names the options of a multiple-choice question: by letter, by text, or by number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from judges.fuzzy.matching.numerals import word_is_digit
from judges.fuzzy.text.inflection import plural
from judges.fuzzy.text.lexicon import FUNCTION_WORDS, is_only_noun, is_word
from judges.fuzzy.text.normalize import Folded, fold
from judges.fuzzy.text.spans import Spans
from judges.fuzzy.text.wordlists import NUMBER_WORDS, alternatives, load, word_list

_ARTICLE = re.compile(r"\b(?:a|an|the) (?=\w)")
_NO_ANSWER = re.compile(r"\bn ?/ ?$")
_WORD_BEFORE = re.compile(r"([a-z']+)[ \"'*_(]{1,3}$")
_RANGE = re.compile(r"(?<=\d) to (?=\d)")
_QUOTES = r"\s\"'*`_(\["
_LEAD = re.compile(
    rf"(?:^|[\n.!?;:()\[\"'*`_>=,/&\-—–]|\b(?:{alternatives('multiple_choice', 'before_letter')}))[{_QUOTES}]*$"
)
_NAMING = re.compile(rf"\b(?:{alternatives('multiple_choice', 'naming')})[{_QUOTES}:]*$")
_AFTER_ARTICLE_LETTER = re.compile(
    r"\s*(?:$|\n|[.:)\]\"'*`_,;!?/&—–]|-\s"
    rf"|(?:{alternatives('multiple_choice', 'after_letter_a')})\b(?!\w))"
)
_FUNCTION_WORD = re.compile(r" ([a-z]+)")
_AFTER_ARTICLE = word_list("multiple_choice", "after_article")
_ORDINALS: list[str] = load("multiple_choice")["ordinals"].split()
_ORDINAL = re.compile(rf"\b({'|'.join(_ORDINALS)}) (?:{alternatives('multiple_choice', 'counted')})\b")
_SIGNS = re.compile(r"\W+")
_BARE = re.compile(rf"(?:{alternatives('multiple_choice', 'option_names')})? ?([a-z])")
_SHORTEST_NEAR = 5
_LETTER_BEFORE = re.compile(r"\b[a-z][\"'*`_]{0,4}[).:\]][\s\"'*`_]{0,4}(?:(?:an?|the) )?$")


@dataclass(frozen=True, slots=True)
class Pick:
    """An option that the answer names, at [start, end) of the folded text."""

    start: int
    end: int
    option: int
    how: str


def find_picks(folded: Folded, prediction: str, choices: Sequence[str]) -> list[Pick]:
    """Return the options that an answer names, in order, whatever it says of them."""
    texts = _option_texts(folded, choices)
    letters = _letters(folded, prediction, texts, len(choices))
    picks = texts + letters + _ordinals(folded.plain, len(choices))
    return sorted(picks, key=lambda pick: pick.start) or _nearly_option(folded, choices)


def _option_texts(folded: Folded, choices: Sequence[str]) -> list[Pick]:
    """Return where the options' texts occur, the longest first where they overlap."""
    found = []
    for index, choice in enumerate(choices):
        for text in _option_forms(choice):
            words = " {1,2}".join(map(re.escape, text.split()))  # "St. Bernard" leaves two blanks
            for match in re.finditer(rf"(?<= ){words}(?= )", folded.words):
                if text != "one" or word_is_digit(folded.plain, *match.span()):
                    found.append(Pick(*match.span(), index, "option"))
    found.sort(key=lambda pick: (pick.start - pick.end, pick.start))
    by_option: dict[int, list[tuple[int, int]]] = {}
    taken: list[Pick] = []
    for length in sorted({pick.end - pick.start for pick in found}, reverse=True):
        longer = {option: Spans(spans) for option, spans in by_option.items()}
        same: list[Pick] = []
        reach: dict[int, int] = {}
        for pick in (pick for pick in found if pick.end - pick.start == length):
            if any(spans.meets(pick.start, pick.end) for spans in longer.values()) or any(
                end > pick.start for option, end in reach.items() if option != pick.option
            ):
                continue
            same.append(pick)
            reach[pick.option] = pick.end
        taken += same
        for pick in same:
            by_option.setdefault(pick.option, []).append((pick.start, pick.end))
    return taken


@lru_cache(maxsize=4096)
def _option_forms(choice: str) -> tuple[str, ...]:
    """Return an option's text as it may occur in folded text: with and without article, digits for number words."""
    text = " ".join(fold(choice).words.split())
    if not text:
        return ()
    forms = {text, _ARTICLE.sub("", text), _RANGE.sub(" ", text)}
    for form in list(forms):
        words = form.split()
        forms.add(" ".join(_other_number(word) for word in words))
        if len(words) == 1 and len(form) > 3:
            forms.add(plural(form))
        if words[0] == "to" and len(words) > 1:
            forms.add(" ".join(words[1:]))
    return tuple(sorted(form for form in forms if len(form) > 1 or not form.isalpha()))


def _other_number(word: str) -> str:
    if word in NUMBER_WORDS:
        return str(NUMBER_WORDS.index(word))
    small = word.isdecimal() and len(word) < 3 and int(word) < len(NUMBER_WORDS)
    return NUMBER_WORDS[int(word)] if small else word


def _letters(folded: Folded, prediction: str, texts: list[Pick], count: int) -> list[Pick]:
    """Return the letters that name an option."""
    plain = folded.plain
    last = chr(ord("a") + count - 1)
    picks = []
    bare = _BARE.fullmatch(_SIGNS.sub(" ", plain).strip())
    bare = bare if bare and bare.group(1) <= last else None
    inside_texts = Spans((pick.start, pick.end) for pick in texts)
    # "D. Norway" where D is Norway.
    joints = [(pick, _LETTER_BEFORE.search(plain[max(0, pick.start - 12) : pick.start])) for pick in texts]
    named = {(pick.start - len(joint.group()), pick.option) for pick, joint in joints if joint}
    small = not any(map(str.isupper, prediction))  # an answer without capitals has none for letters
    for match in re.finditer(rf"(?<![\w'])[a-{last}](?![\w'+])", plain):
        start = match.start()
        inside = inside_texts.covers(start)
        capital = small or prediction[folded.origin[start]].isupper() or ord(prediction[folded.origin[start]]) > 127
        if not inside and (
            bare or (start, ord(match.group()) - ord("a")) in named or _is_letter(plain, start, capital)
        ):
            picks.append(Pick(start, start + 1, ord(match.group()) - ord("a"), "letter"))
    return picks


def _is_letter(plain: str, start: int, capital: bool) -> bool:
    """Whether the letter at `start` names an option, rather than being an article, a pronoun or an initial."""
    before, after = plain[max(0, start - 24) : start], plain[start + 1 : start + 41]
    closed = re.match(r"[\"'*`_]*[)\]]|[\"'*`_]*[.:](?:\s|$)", after) is not None
    opened = before.rstrip("*_\"'` ")[-1:] in {"(", "["}
    if opened and re.match(r"[\"'*`_]*[)\].:,]", after):
        return True
    named = _NAMING.search(before) is not None
    if not capital:
        return (
            (closed and not before.strip(" \n*_\"'`("))
            or (named and re.match(r"\W*(?:$|\n|[.,;)])", after) is not None)
            or (closed and before.rstrip(" ").endswith("\n"))
        )
    if _NO_ANSWER.search(before):
        return False
    if plain[start] == "a":
        word = _FUNCTION_WORD.match(after)
        follows = _AFTER_ARTICLE_LETTER.match(after) or (word and word.group(1) in FUNCTION_WORDS - _AFTER_ARTICLE)
        return bool(_LEAD.search(before) and follows)
    word = _WORD_BEFORE.search(before)
    return bool(_LEAD.search(before) or (word and not is_only_noun(word.group(1)) and is_word(word.group(1))))


def _ordinals(plain: str, count: int) -> list[Pick]:
    found = [(match, _ORDINALS.index(match.group(1))) for match in _ORDINAL.finditer(plain)]
    return [Pick(*match.span(), index, "option") for match, index in found if index < count]


def _nearly_option(folded: Folded, choices: Sequence[str]) -> list[Pick]:
    """Return the option that the whole answer, or its end, misspells; at most one wrong letter in eight."""
    words = folded.words.split()
    forms = {form: index for index, choice in enumerate(choices) for form in _option_forms(choice)}
    tail = _ARTICLE.sub("", " ".join(words))
    longest = max(map(len, forms), default=0)
    if not _SHORTEST_NEAR <= len(tail) <= longest + max(1, longest // 4):  # more wrong letters than one in eight
        return []
    best = process.extractOne(tail, list(forms), scorer=Levenshtein.distance, score_cutoff=len(tail) // 8 or 1)
    if best is None or not _misspells(tail, best[0]):
        return []
    start = len(folded.words) - len(folded.words.lstrip())
    return [Pick(start, len(folded.words.rstrip()), forms[best[0]], "option")]


def _misspells(text: str, option: str) -> bool:
    """Whether a text differs from an option by spelling, not by a number, a letter or another word."""
    ours, theirs = text.split(), option.split()
    if len(ours) != len(theirs):
        return re.sub(r"\D", "", text) == re.sub(r"\D", "", option)
    return all(
        our in {their, plural(their)} or (len(our) > 3 and our.isalpha() and not is_word(our))
        for our, their in zip(ours, theirs, strict=True)
    )
