"""Judges an answer to a multiple-choice question: which option does it commit to, by letter or by text?"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from emt_core.errors import UserError
from judges.fuzzy import confidence
from judges.fuzzy.grammar import conclusion, injection, stances
from judges.fuzzy.matching.matcher import cues_beside
from judges.fuzzy.options import Pick, find_picks
from judges.fuzzy.text import markup
from judges.fuzzy.text.inflection import plural
from judges.fuzzy.text.normalize import Folded, fold, fold_name
from judges.fuzzy.text.spans import Span, Spans
from judges.target import MultipleChoice
from judges.verdict import Category, Match, Verdict

NAME = "fuzzy"
_LETTER_TO_TEXT = re.compile(r"[\s\"'*`_)\]}.:,=—–-]{1,9}(?:(?:an?|the) )?")
_Note = tuple[str, float]
"""What was decided about an answer, and how sure that is."""


def judge_choice(prediction: str, target: MultipleChoice) -> Verdict:
    """Judge one answer.

    Raises:
        UserError: the target's label is not the letter of one of its choices.
    """
    gold = ord(target.label.strip(" ().").upper()) - ord("A") if len(target.label.strip(" ().")) == 1 else -1
    if not 0 <= gold < len(target.choices):
        last = chr(ord("A") + len(target.choices) - 1)
        raise UserError(f"label {target.label!r} is not an option; expected a letter from A to {last}")
    folded = fold(markup.clean(prediction, target.choices))
    notes: list[_Note] = []
    picks = _picks(folded, prediction, target.choices, notes)
    matches = tuple(_match(pick, folded, prediction) for pick in picks)
    options = {pick.option for pick in picks}
    if not options:
        return _no_option(folded, prediction, target, notes)
    category: Category = "intrinsic" if len(options) > 1 else "correct" if options == {gold} else "incorrect"
    letters = ", ".join(sorted({match.label for match in matches}))
    found = f"commits to {letters}" if len(options) == 1 else f"names several options: {letters}"
    sure = confidence.LETTER if matches[0].how == "letter" else confidence.OPTION_TEXT
    if len(options) > 1:
        sure = confidence.SEVERAL_OPTIONS
    sure = min([sure, *(certainty for _, certainty in notes)])
    return Verdict(category, matches, NAME, sure, "; ".join([found, *_said(notes)]))


def _no_option(folded: Folded, prediction: str, target: MultipleChoice, notes: list[_Note]) -> Verdict:
    """Return the verdict on an answer that commits to no option."""
    for form in _name_forms(target.class_name) if target.class_name else ():
        position = folded.words.find(f" {form} ")
        if position >= 0:
            start, end = folded.origin[position + 1], folded.origin[position + len(form)] + 1
            match = Match(str(target.class_name), start, end, prediction[start:end], "class name")
            reason = f'names the object in the image, "{prediction[start:end]}", which is no option'
            return Verdict("extrinsic", (match,), NAME, confidence.CLASS_NO_OPTION, reason)
    sure = confidence.NO_OPTION if folded.words.strip() else confidence.EMPTY
    sure = min([sure, *(certainty for _, certainty in notes)])
    return Verdict("extrinsic", (), NAME, sure, "; ".join(["names no option", *_said(notes)]))


def _said(notes: Sequence[_Note]) -> list[str]:
    return list(dict.fromkeys(note for note, _ in notes))


@lru_cache(maxsize=1024)
def _name_forms(name: str) -> frozenset[str]:
    folded = fold_name(name)
    return frozenset({folded, plural(folded)}) if folded else frozenset()


def _match(pick: Pick, folded: Folded, prediction: str) -> Match:
    start, end = folded.origin[pick.start], folded.origin[pick.end - 1] + 1
    return Match(chr(ord("A") + pick.option), start, end, prediction[start:end], pick.how)


def _picks(folded: Folded, prediction: str, choices: Sequence[str], notes: list[_Note]) -> list[Pick]:
    """Return the options that count: named, not denied, in the stated answer if there is one."""
    plain = folded.plain
    picks = find_picks(folded, prediction, choices)
    first, last = len(plain) - len(plain.lstrip()), len(plain.rstrip())
    said = (span for span in injection.spans(plain) if span[0] > first or span[1] < last)
    talk = Spans(span for span in said if not _quotes_option(plain, span, picks))
    kept = [pick for pick in picks if not talk.covers(pick.start)]
    if len(kept) < len(picks):
        notes.append(("what is said to the judge does not count", confidence.PART_IGNORED))
    return _weighed(folded, kept, notes)


def _quotes_option(plain: str, clause: Span, picks: Sequence[Pick]) -> bool:
    """Whether more than half of a clause is an option of several words: "he scored 20 points in the first half"."""
    start, end = clause
    inside = picks[bisect_left(picks, start, key=_start) : bisect_left(picks, end, key=_start)]
    return any(2 * (pick.end - pick.start) > end - start and " " in plain[pick.start : pick.end] for pick in inside)


def _start(pick: Pick) -> int:
    return pick.start


def _weighed(folded: Folded, picks: list[Pick], notes: list[_Note]) -> list[Pick]:
    """Return the picks that the answer asserts; if it settles on none, those before an explanation."""
    groups = _joined(folded.plain, picks)
    if not groups:
        return []
    named = [_bracketed(folded.plain, group) for group in groups]
    cues = cues_beside(folded.words, named)
    weighed = stances.weigh(folded.plain, cues, named, [group[0].option for group in groups])
    notes += weighed.notes
    kept = [pick for number in weighed.kept for pick in groups[number]]
    if len({pick.option for pick in kept}) > 1 and (cut := conclusion.EXPLAINED.search(folded.plain)):
        before = [pick for pick in kept if pick.start < cut.start()]
        if before and len(before) < len(kept):
            notes.append(("the stated answer outranks the rest", confidence.STATED_ANSWER))
            return before
    return kept


def _joined(plain: str, picks: list[Pick]) -> list[list[Pick]]:
    """Return the picks in groups: a letter and the text of an option that follows it are one name."""
    groups: list[list[Pick]] = []
    for pick in picks:
        last = groups[-1][-1] if groups else None
        joined = last and last.how == "letter" and last.option == pick.option and pick.how == "option"
        if last and joined and _LETTER_TO_TEXT.fullmatch(plain, last.end, pick.start):
            groups[-1].append(pick)
        else:
            groups.append([pick])
    return groups


def _bracketed(plain: str, group: list[Pick]) -> Span:
    """Return where a group is, with the brackets around its letter: they are part of its name."""
    start, end = group[0].start, group[-1].end
    opened = group[0].how == "letter" and plain[start - 1] in "(["
    closed = opened and group[-1].how == "letter" and plain[end] in ")]"
    return start - opened, end + closed
