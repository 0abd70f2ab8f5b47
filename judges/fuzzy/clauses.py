"""What is denied and what is concluded in a text, for judges that look for answers other than labels."""

from __future__ import annotations

import re

from judges.fuzzy.cues import AFFIRMATION, CONCLUSION, DENIAL
from judges.fuzzy.wordlists import phrase_set


def _cue(*groups: str) -> str:
    """Return an expression for the cues of some groups, the longest first."""
    phrases = frozenset[str]().union(*map(phrase_set, groups))
    # A blank in a cue stands for whatever joins the words: "isn t" is "isn't" in the text.
    return "|".join(phrase.replace(" ", r"[ '\-]") for phrase in sorted(phrases, key=lambda text: (-len(text), text)))


_CUE = re.compile(rf"(?<![\w'])(?:(?P<affirmed>{_cue(AFFIRMATION)})|(?P<denied>{_cue(DENIAL)}))(?!\w)")
_END = re.compile(
    r"[.!?;:\n]|--| - |\b(?:but|rather|instead|however|actually|so|because)\b"
    r"|\b(?:it is|it's|this is|that is|that's|the answer|must be)\b"
)
_LIST_GOES_ON = re.compile(r",[^,]*\b(?:or|nor)\b")
_TRUE = r"(?:correct|right|the (?:answer|right|correct)|true|possible|it\b|a match|likely)"
_DENIED_AFTER = re.compile(
    # "A", "C and D ..."
    r"[\"'*_)\].]*\s*(?:(?:,|and|or|&|nor)\s*(?:\(?[a-z]\)?)\s*)*"
    # "... are not right", "... can't be it", "... is wrong"
    r"(?:is|are|was|were|can|could|would be|seems?)?\s*"
    rf"(?:(?:not|n't|cannot|can't be|not be)\s+(?:be\s+)?{_TRUE}|(?:isn't|aren't|wasn't|cannot be)\s+{_TRUE}"
    r"|(?:wrong|incorrect|false|ruled out|eliminated|excluded|out\b(?! of)|unlikely|impossible))"
)
CONCLUDED = re.compile(rf"(?<![\w'])(?:(?P<final>final \w+)|(?:{_cue(CONCLUSION)}))(?!\w)")
EXPLAINED = re.compile(r"\b(?:because|since|explanation|reasoning|rationale|given that|due to)\b|\breason\s*:")


def denied_spans(plain: str, named: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the stretches of folded text that are denied.

    `named` are the spans of what may be denied: a denial goes on over a comma until it has met one of them. Cues
    inside a span ("No" as an option) deny nothing.
    """
    spans = []
    for cue in _CUE.finditer(plain):
        if cue.group("affirmed") or any(start <= cue.start() < end for start, end in named):
            continue
        limit = _END.search(plain, cue.end())
        end = limit.start() if limit else len(plain)
        comma = plain.find(",", cue.end(), end)
        while comma >= 0:
            met = any(cue.end() <= start < comma for start, _ in named) or not plain[cue.end() : comma].strip()
            if met and not _LIST_GOES_ON.search(plain[comma:end]):
                end = comma
                break
            comma = plain.find(",", comma + 1, end)
        spans.append((cue.end(), end))
    return spans


def is_denied(plain: str, span: tuple[int, int], denied: list[tuple[int, int]]) -> bool:
    """Whether what stands at `span` of folded text is denied, before or after it."""
    return any(start <= span[0] < end for start, end in denied) or bool(_DENIED_AFTER.match(plain, span[1]))
