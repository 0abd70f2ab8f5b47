"""Judges an answer to an open question of a few words: a title, a name, a genre, a year, yes or no (OCR-VQA)."""

from __future__ import annotations

import re
from itertools import accumulate

from rapidfuzz.distance import Levenshtein

from judges.fuzzy import confidence
from judges.fuzzy.grammar import conclusion, injection, stances
from judges.fuzzy.matching.matcher import cues_beside
from judges.fuzzy.other_answers import ARTICLES, GENERIC, only_denies, otherwise, words
from judges.fuzzy.text import markup
from judges.fuzzy.text.normalize import blank, fold, words_of
from judges.fuzzy.text.wordlists import NUMBER_WORDS, alternatives, word_list
from judges.target import ShortAnswer
from judges.verdict import Category, Match, Verdict

NAME = "fuzzy"
# Rubric: at most one wrong character in this many, for titles and names.
_CHARACTERS_PER_ERROR = 8
# From this similarity up, another text may be the same answer written differently.
_ALIKE = 0.6
_OR_AFTER = re.compile(r"\W{0,3}\s*(?:or|/)\s+\w")
_OR_BEFORE = re.compile(r"\w\s+or\s+(?:the |a |an )?$")
_NO_DIGIT = re.compile(r"\D")
_NEAR = 20
_PAIR = 2
# Of an answer without end, so many characters are read after each of so many conclusions, the last ones.
_READ, _CONCLUSIONS = 20_000, 50
_YES = word_list("short_answer", "says_yes")
_NO = word_list("short_answer", "says_no")
_AFTER_NO = word_list("short_answer", "after_no")
_UNSURE = re.compile(rf"\W*(?:{alternatives('short_answer', 'unsure')})")
_POLAR = (["yes"], ["no"])
_NO_STATEMENT = re.compile(
    r"^\W*(?:(?:it|this|that|they|the \w+)\s+(?:is|was|does|are|do|has)\s?(?:not|n't)\b"
    r"|not\b(?! sure| certain| clear| possible| visible| able)|(?:it|this|that)\s?(?:isn't|doesn't|wasn't))"
)
_YES_STATEMENT = re.compile(r"^\W*(?:it|this|that) (?:is|does|was)\W*$")
_HEDGED = re.compile(rf"\b(?:{alternatives('short_answer', 'hedges')})\b")


def judge_short_answer(prediction: str, target: ShortAnswer) -> Verdict:
    """Judge one answer: correct, incorrect or extrinsic; there is no intrinsic here."""
    text = markup.clean(prediction, [target.label])
    plain, origin = _plain(text)
    gold = words(_plain(target.label)[0])
    plain = blank(plain, (span for span in injection.spans(plain) if _only_talk(plain[slice(*span)], gold)))
    if not plain.strip(" .,!?-_*\n\"'"):
        return _verdict("extrinsic", confidence.BLANK, "holds no answer")
    if not gold:
        same = plain.strip() == _plain(target.label)[0].strip()
        reason = "compared sign by sign: the right answer has no words"
        return _verdict("correct" if same else "incorrect", confidence.SYMBOLS, reason)
    if gold in _POLAR:
        return _yes_or_no(plain, gold[0])
    if len(gold) == 1 and gold[0].isdecimal():
        return _number(plain, gold[0], prediction, origin)
    return _text(plain, gold, prediction, origin)


def _verdict(category: Category, sure: float, reason: str, match: Match | None = None) -> Verdict:
    return Verdict(category, (match,) if match else (), NAME, sure, reason)


def _plain(text: str) -> tuple[str, list[int]]:
    """Return folded text with "and" for "&", and where each character came from."""
    folded = fold(text)
    plain, origin = [], []
    for char, offset in zip(folded.plain, folded.origin, strict=True):
        expanded = " and " if char == "&" else char
        plain.append(expanded)
        origin += [offset] * len(expanded)
    return "".join(plain), origin


def _only_talk(clause: str, gold: list[str]) -> bool:
    """Whether a clause really addresses the judge: "Full Credit" may be a title, and "True" an answer."""
    said = words(clause)
    shared = sum(word in gold for word in said)
    quotes = shared > _PAIR and 2 * shared > len(said)
    return said != gold and not quotes and (gold not in _POLAR or len(clause.split()) > 2)


def _yes_or_no(plain: str, gold: str) -> Verdict:
    cues = cues_beside(words_of(plain), ())
    announced = [marker.end for marker in conclusion.markers(plain, cues)]
    announced += [cue.end for cue in cues if stances.takes_back(plain, cue)]
    last = sorted(announced, reverse=True)[:_CONCLUSIONS]
    for start in [*last, 0]:
        said = _said(plain[start : start + _READ])
        if said == gold:
            return _verdict("correct", confidence.YES_NO, f"answers {said}")
        if said is not None:
            return _verdict("incorrect", confidence.YES_NO, f"answers {said}, not {gold}")
    sure = confidence.REFUSED_YES_NO if conclusion.REFUSAL.search(plain) else confidence.NEITHER_YES_NOR_NO
    return _verdict("extrinsic", sure, "answers neither yes nor no")


def _said(plain: str) -> str | None:
    """Return the yes or no that a text begins with or states."""
    if _UNSURE.match(plain):
        return None
    words = re.findall(r"[a-z']+", plain)
    first = words[0] if words else ""
    if first in _YES:
        return "no" if words[1:2] == ["not"] else "yes"
    if first in _NO and _AFTER_NO.isdisjoint(words[1:2]):
        return "no"
    if _NO_STATEMENT.match(plain) and not conclusion.REFUSAL.search(plain):
        return "no"
    if _YES_STATEMENT.match(plain):
        return "yes"
    stated = [word for word in ("yes", "no") if word in words]
    return stated[0] if len(stated) == 1 and not conclusion.REFUSAL.search(plain) else None


def _number(plain: str, gold: str, prediction: str, origin: list[int]) -> Verdict:
    """Compare years and numbers exactly; other numbers with as many digits contradict."""
    found = [match.span() for match in re.finditer(r"(?<![\w.])\d+(?:,\d{3})*(?![\w])(?!\.\d)", plain)]
    if len(gold) <= 2 and int(gold) < len(NUMBER_WORDS):
        found += [match.span() for match in re.finditer(rf"\b{NUMBER_WORDS[int(gold)]}\b", plain)]
    found.sort()
    cues = cues_beside(words_of(plain), found)
    weighed = stances.weigh(plain, cues, found, [_value(plain, span) for span in found])
    kept = [found[number] for number in weighed.kept]
    kept = [span for span in kept if len(_value(plain, span)) == len(gold)] or kept
    values = {_value(plain, span) for span in kept}
    doubt = min((certainty for _, certainty in weighed.notes), default=confidence.NO_DOUBT)
    if values == {gold}:
        match = _match(gold, kept[0], prediction, origin)
        return _verdict("correct", min(confidence.SAME_NUMBER, doubt), f"gives {gold}", match)
    if values:
        return _verdict(
            "incorrect", min(confidence.OTHER_NUMBER, doubt), f"gives {', '.join(sorted(values))}, not {gold}"
        )
    if conclusion.REFUSAL.search(plain):
        return _verdict("extrinsic", confidence.REFUSED, "gives no answer")
    if re.search(r"\d", plain) and not found:
        return _verdict("incorrect", confidence.DIGITS_UNREAD, f"gives another number than {gold}")
    return _verdict("extrinsic", confidence.NO_NUMBER, "gives no number")


def _value(plain: str, span: tuple[int, int]) -> str:
    text = plain[slice(*span)].replace(",", "")
    return str(NUMBER_WORDS.index(text)) if text in NUMBER_WORDS else text


def _text(plain: str, gold: list[str], prediction: str, origin: list[int]) -> Verdict:
    tokens = [match.span() for match in re.finditer(r"[^\W_]+(?:'[^\W_]+)*", plain)]
    tokens = [span for span in tokens if plain[slice(*span)] not in ARTICLES] or tokens
    span, errors = _nearest(plain, tokens, gold)
    if span is None:
        return _no_match(plain, " ".join(gold))
    other = otherwise(plain, span, " ".join(gold))
    if other is not None:
        return _verdict(*other)
    beside = _OR_AFTER.match(plain, span[1]) or _OR_BEFORE.search(plain[max(0, span[0] - _NEAR) : span[0]])
    if beside and "or" not in gold:
        return _verdict("incorrect", confidence.OPEN_BETWEEN_TWO, "leaves the answer open between two")
    reason = "gives the answer" if not errors else f"gives the answer with {errors} wrong character{'s' * (errors > 1)}"
    sure = confidence.SPELLED_TEXT if errors else confidence.EXACT_TEXT
    return _verdict("correct", sure, reason, _match(" ".join(gold), span, prediction, origin))


def _nearest(plain: str, tokens: list[tuple[int, int]], gold: list[str]) -> tuple[tuple[int, int] | None, int]:
    """Return the span of words nearest to the answer and its number of wrong characters; None if it is too far."""
    wanted = "".join(gold)
    allowed = len(wanted) // _CHARACTERS_PER_ERROR
    digits = _NO_DIGIT.sub("", wanted)
    best: tuple[tuple[int, int] | None, int] = (None, allowed + 1)
    words = [plain[slice(*span)].replace("'", "") for span in tokens]
    reach = [0, *accumulate(map(len, words))]
    tried: set[str] = set()
    for size in {len(gold), len(gold) - 1, len(gold) + 1} - {0}:
        for first in range(len(tokens) - size + 1):
            if abs(reach[first + size] - reach[first] - len(wanted)) > allowed:
                continue
            text = "".join(words[first : first + size])
            if text in tried:
                continue
            tried.add(text)
            if _NO_DIGIT.sub("", text) != digits:
                continue
            errors = Levenshtein.distance(text, wanted, score_cutoff=best[1])
            if errors < best[1]:
                best = ((tokens[first][0], tokens[first + size - 1][1]), errors)
    if best[0] is None and len(gold) > 1 and sorted(gold) == sorted(words):
        # "Hensley, Margaret L." is the same name.
        return (tokens[0][0], tokens[-1][1]), 0
    return best


def _match(label: str, span: tuple[int, int], prediction: str, origin: list[int]) -> Match:
    start, end = origin[span[0]], origin[span[1] - 1] + 1
    return Match(label, start, end, prediction[start:end], "answer")


def _no_match(plain: str, gold: str) -> Verdict:
    """Return the verdict on a text without the answer: another answer, or none at all."""
    if only_denies(plain):
        return _verdict("extrinsic", confidence.DENIED_TEXT, "only denies other answers")
    content = [word for word in words(plain) if word not in GENERIC]
    refuses = conclusion.REFUSAL.search(plain)
    if refuses and not _HEDGED.search(plain, refuses.end()):
        return _verdict("extrinsic", confidence.REFUSED, "gives no answer")
    if not content:
        return _verdict("extrinsic", confidence.DESCRIPTION, "describes the picture and gives no answer")
    return _verdict("incorrect", _distance_confidence(plain.strip(), gold), f'gives another answer than "{gold}"')


def _distance_confidence(text: str, gold: str) -> float:
    """Return the trust in "another answer": less where the texts are much alike."""
    if len(text) * _ALIKE > len(gold) or len(gold) * _ALIKE > len(text):  # as many letters are missing
        return confidence.OTHER_TEXT
    alike = Levenshtein.normalized_similarity(text, gold) > _ALIKE
    return confidence.ALIKE_TEXT if alike else confidence.OTHER_TEXT
