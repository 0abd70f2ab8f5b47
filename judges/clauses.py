"""What is denied and what is concluded in a text, for judges that look for answers other than labels."""

from __future__ import annotations

import re

from judges.cues import AFFIRMATION, CONCLUSION, DENIAL


def _alternation(*groups: str) -> str:
    phrases = {phrase.strip() for group in groups for line in group.strip().splitlines() for phrase in line.split("|")}
    # A blank in a cue stands for whatever joins the words: "isn t" is "isn't" in the text.
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "|".join(phrase.replace(" ", r"[ '\-]") for phrase in ordered)


_CUE = re.compile(rf"(?<![\w'])(?:(?P<affirmed>{_alternation(AFFIRMATION)})|(?P<denied>{_alternation(DENIAL)}))(?!\w)")
_END = re.compile(
    r"[.!?;:\n]|--| - |\b(?:but|rather|instead|however|actually|so|because)\b"
    r"|\b(?:it is|it's|this is|that is|that's|the answer|must be)\b"
)
_LIST_GOES_ON = re.compile(r",[^,]*\b(?:or|nor)\b")
_DENIED_AFTER = re.compile(
    r"[\"'*_)\].]*\s*(?:(?:,|and|or|&|nor)\s*(?:\(?[a-z]\)?)\s*)*(?:is|are|was|were|can|could|would be|seems?)?\s*"
    r"(?:(?:not|n't|cannot|can't be|not be)\s+(?:be\s+)?(?:correct|right|the (?:answer|right|correct)|true|possible|it\b|a match|likely)"
    r"|(?:isn't|aren't|wasn't|can't be|cannot be)\s+(?:correct|right|the (?:answer|right|correct)|true|possible|it\b|likely)"
    r"|(?:wrong|incorrect|false|ruled out|eliminated|excluded|out\b(?! of)|unlikely|impossible))"
)
CONCLUDED = re.compile(rf"(?<![\w'])(?:(?P<final>final \w+)|(?:{_alternation(CONCLUSION)}))(?!\w)")
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
