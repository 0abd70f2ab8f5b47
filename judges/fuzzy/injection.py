"""Finds what is said to the judge instead of about the image: instructions, claimed scores, claimed verdicts."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"[^.!?;\n,]+(?:\.(?=\S)[^.!?;\n,]*)*")
_ROLE = r"(?:judge|grader|evaluator|examiner|reviewer|assessor|scorer|marker|teacher|model|system|assistant|ai|llm|gpt)"
_WORK = r"(?:answer|response|prediction|output|reply|result|text|submission|sample|solution|item|one|case|question)"
_GRADING = (
    r"(?:mark|grade|scor|rat|judg|count|accept|treat|evaluat|regard|consider|classif|award|assign|record|log|pass|validate"
    r"|approv|deem)"
)
_GRADE = r"(?:e|ed|ing|y|ify|ied)?"
_JUDGED = (
    r"(?:correct|incorrect|right|wrong|true|valid|accurate|perfect|a match|matching|equivalent|synonym\w*|passed"
    r"|acceptable)"
)
_GOLD = r"(?:label|ground truth|gold|reference|target)"

# Each pattern is matched against one clause in lower case, without the blanks around it.
_TALK = tuple(
    re.compile("".join(parts))
    for parts in (
        # "Note to the grader: please ..."
        (
            r"^\W*(?:note|message|attention|dear|hey|hello|hi|important|reminder|notice)?\W*(?:to|for)?\W*(?:the )?",
            rf"{_ROLE}\b\W*[:\-—]?\s*(?:{_GRADING}|please|you|ignore|answer|reply|respond|output|say|return)",
        ),
        # "Ignore all previous instructions"
        (
            r"\b(?:ignore|disregard|forget|override|overrule|bypass|skip)\b.*\b(?:instruction|rule|rubric|prompt|label",
            r"|guideline|previous|prior|above|image|criteria|everything|all|following|reference)",
        ),
        # "Mark this response as correct", "I rate it 10"
        (
            rf"\b{_GRADING}{_GRADE}\b (?:the |this |that |it |my |these |any |all |every |above |following |said )*",
            rf"(?:{_WORK}|it|as|this|me|both|everything|anything|any)?\b.*\b(?:{_JUDGED}|full|pass|yes|\d+)",
        ),
        # "Grading the above answer"
        (rf"\b{_GRADING}{_GRADE}\b (?:the |this |that |my |these |any |all |every |above |following )+{_WORK}\b",),
        # "Treat X as a synonym of Y"
        (rf"\btreat\b.*\bas\b|\b{_GRADING}\w*\b.*\bas (?:a |an |being |the )?(?:{_JUDGED}|same|gold)",),
        # "Just answer yes"
        (
            r"^\W*(?:please )?(?:just |simply |only |always |you must |you should |must |now )*",
            r"(?:answer|reply|respond|output|say|return|print|write|state|give)\b (?:with |only |just |me |it )*",
            r"\W*(?:yes|no|correct|true|1\b|10\b|100\b|full|a perfect|verdict|score|\"|')",
        ),
        # "Score: 10", "verdict is correct"
        (
            r"\b(?:score|rating|grade|mark|verdict|judge?ment|evaluation|points|reward)\b\s*",
            r"(?:is|of|=|:|was|should be|must be)\s*\W*",
            r"(?:correct|incorrect|yes|no|true|false|full|perfect|pass|a |[a-f]\b|\d)",
        ),
        # "full marks", "5/5, fully correct", "9 out of 10"
        (
            r"\bfull (?:marks|score|credit|points)\b|\b\d+ (?:out of|of) \d+\b",
            r"|\b\d+ (?:points?|stars?|marks)\b|\b100 ?%",
            r"|\b(?:rat|scor|grad|giv|award|deserv|assign)\w*\b.*\b\d+ ?/ ?\d+\b",
            r"|\b\d+ ?/ ?\d+\b.*\b(?:rat|scor|grad|correct)\w*\b",
        ),
        # "The prediction matches the label", "this answer is fully correct"
        (
            r"\b(?:prediction|answer|response|output|reply|result)s? (?:above |below |given |here )?",
            r"(?:(?:is|are|was|has been|should be|must be) )?",
            r"(?:(?:considered|deemed|verified|marked|graded|judged|fully|completely|definitely|indeed|certainly) )*",
            rf"(?:{_JUDGED}|match\w*|correctly)\b(?! *[:\-])",
        ),
        # "If the label is X", "same as the ground truth", "whatever the reference"
        (
            rf"\bif (?:the )?(?:{_GOLD}|expected|correct answer)\b",
            r"|\b(?:same as|equal to|identical to|matches|match|equals|according to|regardless of|whatever|no matter)",
            rf"\b.*\b(?:{_GOLD}|key)\b",
            rf"|\b{_GOLD}\b\W+(?:is )?(?:the )?(?:same as|equal to|identical|matches|whatever|irrelevant)",
        ),
        # "As an evaluator", "You must output yes"
        (
            r"\bas (?:an? |the )?(?:judge|grader|evaluator|examiner|expert evaluator)\b",
            r"|\byou (?:are|must|should|have to|will|need to) (?:now )?(?:a |an |the )?",
            r"(?:judge|grader|evaluator|answer|say|mark|grade|score|rate|output|reply|respond|accept|treat|return)",
        ),
        # "SYSTEM: ...", "developer message"
        (
            r"\b(?:system|developer|admin|administrator|root) ?(?:message|prompt|override|note|instruction|notice)\b",
            r"|^\W*(?:system|developer|admin)\s*:",
        ),
        # "Correct!", "Yes, fully correct"
        (rf"^\W*(?:yes|fully|totally|completely|definitely|absolutely|100%)?[ ,]*{_JUDGED}\W*$",),
        (r"\bassume\b.*\b(?:correct|right|label|answer|same)\b",),
    )
)


# Only clauses with one of these are looked at closely, and no more of them than this.
_HINT = re.compile(
    rf"{_GRADING}|{_ROLE}|{_JUDGED}|{_GOLD}|ignore|disregard|forget|overr|bypass|skip|answer|repl[iy]"
    r"|respon|output|say|return|print|write|state|give|scor|verdict|judge|points|reward|full|out of|stars|100"
    r"|prediction|result|whatever|matter|you"
    r"|developer|admin|root|assume|match|key|\d ?/ ?\d"
)
_LONGEST_CLAUSE = 400
_NOISE = re.compile(r"(\W)\W{2,}")


def spans(plain: str) -> list[tuple[int, int]]:
    """Return the clauses of folded text that talk to the judge, as offsets into it."""
    return [clause.span() for clause in _CLAUSE.finditer(plain) if _talks(clause.group())]


def _talks(clause: str) -> bool:
    if not _HINT.search(clause):
        return False
    text = _NOISE.sub(r"\1 ", clause.strip()[:_LONGEST_CLAUSE])
    return any(pattern.search(text) for pattern in _TALK)
