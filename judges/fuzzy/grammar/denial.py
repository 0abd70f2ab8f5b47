"""What an answer denies: by words before a name, by words after it, and by words about all that came before."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from itertools import islice

from judges.fuzzy.matching.matcher import Hit
from judges.fuzzy.text.spans import Places, Span, Spans
from judges.fuzzy.text.wordlists import alternatives


def _words(key: str) -> str:
    """Return an expression for one list of data/denial.yaml."""
    return alternatives("denial", key)


# A denial ends here.
CLAUSE_END = re.compile(
    rf"[.!?;:\n(]|--| - |[—–]|\b(?:{_words('contrasts')})\b"
    rf"|,\s*(?:{_words('after_comma')}|and (?:it|this))\b|\b(?:{_words('statements')}|{_words('left_over')})\b"
)
_COMMA = re.compile(",")
_LIST_GOES_ON = re.compile(r"\b(?:or|nor|and)\b")
# "I don't think that it is ..."
_STATEMENT = re.compile(rf"(?: that| if| whether)?(?: {_words('subjects')})?(?: ?(?:{_words('verbs')}))?(?= )")
# "too small for ..."
_TOO = re.compile(r" [\w-]+(?: [\w-]+)? (?:for|to be)\b")
# Where the words that rule a name out end: with their clause, or before a reason.
_CLOSED = rf"(?=\s*(?:$|[.,;:!?\n)\]\"'*—–]|-{{1,2}}\s)|\s+(?:{_words('after_denial')})\b)"
_CLOSE = re.compile(_CLOSED)
_ADVERBS = rf"(?:(?:{_words('adverbs')}) ){{0,2}}"
_DENIED_AFTER = re.compile(
    # What joins a name to its verb: a bracket, or the options that follow it.
    r"[\"'*_)\].]{0,9}\s*(?:"
    # "Cat? No.", "Cat, no.", "cat: false", "cat = 0"
    rf"\?\s*(?:hm+\W{{1,4}})?(?:{_words('replies')})\b|,\s*no(?=\s*(?:[.;\n]|$))|[:=\-]\s*(?:{_words('false_values')})(?!\w|\.\d)"
    # "(A) no (B) yes"
    r"|no(?=\s*(?:[,.;(\n]|$))"
    # "... are not right", "... can't be it", "a cat is not visible"
    rf"|(?:(?P<one>{_words('verbs_of_one')})\s?|(?:{_words('verbs_before_not')})\s?)?"
    rf"(?:{_words('nots')})\s+(?:be\s+)?{_ADVERBS}(?:{_words('confirmed')})"
    # "... is wrong", "a cat can be excluded"
    rf"|(?:(?:(?P<is>{_words('verbs_of_one')})|{_words('verbs_before_false')})\s+)?{_ADVERBS}(?:be\s+)?{_ADVERBS}"
    rf"(?:{_words('ruled_out')})\b{_CLOSED}"
    # "... makes no sense"
    rf"|{_ADVERBS}(?:(?P<does>{_words('fails_alone')})|{_words('fails')})\b{_CLOSED}"
    # "a cat this is not"
    rf"|(?:{_words('inverted')})(?=\s*(?:[.,;\n]|$))"
    # "a cat would have longer legs": so it is none
    rf"|(?P<unlike>{_words('would')})\s?{_ADVERBS}(?:(?:{_words('nots')}) (?:{_words('would_be')})\b"
    rf"|(?:{_words('would_have')}) (?!been|to)"
    rf"|(?:{_words('would_be')})\s+(?:an? |the )?{_ADVERBS}"
    rf"(?:{_words('different')}|(?!(?:{_words('not_comparative')})\b)\w{{2,12}}er)\b(?! to\b)))"
)
_DENYING = frozenset({"denial", "question", "doubt"})
_WORD = re.compile(r"\w+")
_WORDS_READ = 300
# Between names that a denial after the last of them is about: "a cat and a dog are out".
_JOINED = re.compile(
    r"[\"'*_)\].]{0,9}(?:,? (?P<word>and|or|nor|&)|(?P<comma>,)) (?:(?:an?|the|options?) )?[\"'*_(\[]{0,9}"
)
_LONGEST_JOINT = 24
# "A cat is out, and so is a dog"
_LIKEWISE = re.compile(rf"[,;]? (?:and )?(?:{_words('likewise')}) (?:(?:an?|the) )?")
# "Everything but a cat can be excluded"
_ALL_BUT = re.compile(rf"\b(?:{_words('all_but')}) (?:(?:an?|the) )?[\"'*_(\[]{{0,9}}$")
_ALL_BUT_WITHIN = 32


def denied(plain: str, cues: Sequence[Hit], named: Sequence[Span], keys: Sequence[Hashable]) -> dict[int, bool]:
    """Return which of `named`, in order, the folded text denies, each with whether that is only implied.

    Args:
        plain: folded text.
        cues: what changes the meaning of the names beside it.
        named: where names are.
        keys: what each of them stands for.
    """
    after = _after(plain, named)
    used = Spans(match.span() for match in after.values())  # "a cat is not it, a dog is": "not" denies no dog
    scopes = _scopes(plain, [cue for cue in cues if not used.meets(cue.start, cue.end)], named)
    found = {number: False for number, (start, _) in enumerate(named) if scopes.covers(start)}
    found |= {number: match["unlike"] is not None for number, match in after.items()}
    for number in _rejected(plain, cues, named, keys):
        found.setdefault(number, False)
    return found


def regions(plain: str, cues: Sequence[Hit], named: Sequence[Span]) -> list[Span]:
    """Return what folded text denies, with the words that deny it, where the names of the other answers are unknown."""
    bounds = Places(CLAUSE_END, plain)
    after = []
    for word in islice(_WORD.finditer(plain), _WORDS_READ):
        match = _DENIED_AFTER.match(plain, word.end())
        if match:
            after.append((max(0, bounds.last(word.end())), match.end()))
    denying = [cue for cue in cues if cue.surface.cue in _DENYING]
    ends = _scope_ends(plain, [past_statement(plain, cue) for cue in denying], named or [cue[:2] for cue in denying])
    return after + [(cue.start, end) for cue, end in zip(denying, ends, strict=True)]


def _scopes(plain: str, cues: Sequence[Hit], named: Sequence[Span]) -> Spans:
    """Return what the cues deny."""
    starts = [past_statement(plain, cue) for cue in cues if cue.surface.cue in _DENYING]
    return Spans(zip(starts, _scope_ends(plain, starts, named), strict=True))


def _scope_ends(plain: str, starts: Sequence[int], named: Sequence[Span]) -> list[int]:
    """Return where denials end that begin at these places.

    A denial reaches to the end of its clause, or of the list of what is denied; it continues past a comma until it
    has reached one of `named`.
    """
    if not starts:
        return []
    clause_ends, commas = Places(CLAUSE_END, plain), Places(_COMMA, plain)
    joins, names = Places(_LIST_GOES_ON, plain), [start for start, _ in named]

    def scope_end(start: int) -> int:
        end = clause_ends.first(start)
        joined = joins.last(end)  # a list goes on until here
        name = bisect_left(names, start)
        met = names[name] if name < len(names) else end
        comma = commas.first(start)
        if comma < end and joined < comma and not plain[start:comma].strip():
            return comma
        return min(commas.first(max(joined, met, start) + 1), end)

    return [scope_end(start) for start in starts]


def past_statement(plain: str, cue: Hit) -> int:
    """Return where what a cue is about begins: after "that it is" if the cue is "I don't think" or "perhaps"."""
    if cue.surface.cue not in {"doubt", "tentative"}:
        return cue.end
    if cue.surface.text == "too":
        excess = _TOO.match(plain, cue.end)
        return excess.end() if excess else len(plain)
    statement = _STATEMENT.match(plain, cue.end)
    return statement.end() if statement else cue.end


def _after(plain: str, named: Sequence[Span]) -> dict[int, re.Match[str]]:
    """Return the names denied by words after them, or after the list that they are in, with these words."""
    found: dict[int, re.Match[str]] = {}
    reaches: re.Match[str] | None = None
    for number in range(len(named) - 1, -1, -1):
        start, end = named[number]
        match = _DENIED_AFTER.match(plain, end)
        if match and _ALL_BUT.search(plain[max(0, start - _ALL_BUT_WITHIN) : start]):
            match = None
        if match is None and reaches is not None:
            following = named[number + 1][0]
            joint = _JOINED.fullmatch(plain, end, following) if following - end <= _LONGEST_JOINT else None
            one = reaches["one"] or reaches["is"] or reaches["does"]
            if joint and not (one and joint["word"] in {"and", "&"}):
                match = reaches
        if match:
            found[number] = match
        reaches = match
    for number in range(1, len(named)):
        denial, start = found.get(number - 1), named[number][0]
        if denial and start - denial.end() <= _LONGEST_JOINT and _LIKEWISE.fullmatch(plain, denial.end(), start):
            found.setdefault(number, denial)
    return found


def _rejected(plain: str, cues: Sequence[Hit], named: Sequence[Span], keys: Sequence[Hashable]) -> set[int]:
    """Return the names that "neither fits", "that is wrong" or "none of these" is about: two, one, or all before."""
    ends = [end for _, end in named]
    found: set[int] = set()
    for cue in cues:
        if cue.surface.cue not in _REACH or (cue.surface.cue == "rejects one" and not _CLOSE.match(plain, cue.end)):
            continue
        reached: set[Hashable] = set()
        for number in range(bisect_left(ends, cue.start + 1) - 1, -1, -1):
            reached.add(keys[number])
            if len(reached) > _REACH[cue.surface.cue] or number in found:
                break
            found.add(number)
    return found


_REACH = {"rejects one": 1, "rejects two": 2, "rejects all": 10**9}
"""How many different things the cues of a kind are about, of those named last."""
