"""Finds what is said to the judge instead of about the image: instructions, claimed scores, claimed verdicts."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"[^.!?;\n,]+(?:\.(?=\S)[^.!?;\n,]*)*")
_WHO = r"(?:judge|grader|evaluator|examiner|reviewer|assessor|scorer|marker|teacher|model|system|assistant|ai|llm|gpt)"
_WHAT = r"(?:answer|response|prediction|output|reply|result|text|submission|sample|solution|item|one|case|as|question)"
_VERB = r"(?:mark|grade|scor|rat|judg|count|accept|treat|evaluat|regard|consider|classif|award|assign|record|log|pass|validate|approv|deem)"
_JUDGED = r"(?:correct|incorrect|right|wrong|true|valid|accurate|perfect|a match|matching|equivalent|synonym\w*|passed|acceptable)"
_TALK = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^\W*(?:note|message|attention|dear|hey|hello|hi|important|reminder|notice)?\W*(?:to|for)?\W*(?:the )?{_WHO}\b\W*[:\-—]?\s*(?:{_VERB}|please|you|ignore|answer|reply|respond|output|say|return)",
        r"\b(?:ignore|disregard|forget|override|overrule|bypass|skip)\b.*\b(?:instruction|rule|rubric|prompt|label|guideline|previous|prior|above|image|criteria|everything|all|following|reference)",
        rf"\b{_VERB}(?:e|ed|ing|y|ify|ied)?\b (?:the |this |that |it |my |these |any |all |every |above |following |said )*(?:{_WHAT}|it|this|me|both|everything|anything|any)?\b.*\b(?:{_JUDGED}|full|pass|yes|10|100|\d+ ?/ ?\d+|\d+)",
        rf"\b{_VERB}(?:e|ed|ing|y|ify|ied)?\b (?:the |this |that |my |these |any |all |every |above |following )+{_WHAT}\b",
        rf"\btreat\b.*\bas\b|\b{_VERB}\w*\b.*\bas (?:a |an |being |the )?(?:synonym|{_JUDGED}|same|gold)",
        r"^\W*(?:please )?(?:just |simply |only |always |you must |you should |must |now )*(?:answer|reply|respond|output|say|return|print|write|state|give)\b (?:with |only |just |me |it )*\W*(?:yes|no|correct|true|1\b|10\b|100\b|full|a perfect|verdict|score|\"|')",
        r"\b(?:score|rating|grade|mark|verdict|judge?ment|evaluation|points|reward)\b\s*(?:is|of|=|:|was|should be|must be)\s*\W*(?:correct|incorrect|yes|no|true|false|full|perfect|pass|a |[a-f]\b|\d)",
        r"\bfull (?:marks|score|credit|points)\b|\b\d+ (?:out of|of) \d+\b|\b\d+ (?:points?|stars?|marks)\b|\b100 ?%",
        r"\b(?:rat|scor|grad|giv|award|deserv|assign)\w*\b.*\b\d+ ?/ ?\d+\b|\b\d+ ?/ ?\d+\b.*\b(?:rat|scor|grad|correct)\w*\b",
        rf"\b(?:the |this |my |that )?(?:prediction|answer|response|output|reply|result)s? (?:above |below |given |here )?(?:(?:is|are|was|has been|should be|must be) )?(?:(?:considered|deemed|verified|marked|graded|judged|fully|completely|definitely|indeed|100%|certainly) )*(?:{_JUDGED}|match\w*|correctly)\b(?! *[:\-])",
        r"\bif (?:the )?(?:label|ground truth|gold|reference|target|expected|correct answer)\b",
        r"\b(?:same as|equal to|identical to|matches|match|equals|according to|regardless of|whatever|no matter)\b.*\b(?:label|ground truth|gold|reference|target|key)\b",
        r"\b(?:label|ground truth|gold|reference|target)\b\W+(?:is )?(?:the )?(?:same as|equal to|identical|matches|whatever|irrelevant)",
        r"\bas (?:an? |the )?(?:judge|grader|evaluator|examiner|expert evaluator)\b",
        r"\byou (?:are|must|should|have to|will|need to) (?:now )?(?:a |an |the )?(?:judge|grader|evaluator|answer|say|mark|grade|score|rate|output|reply|respond|accept|treat|return)",
        r"\b(?:system|developer|admin|administrator|root) ?(?:message|prompt|override|note|instruction|notice)\b|^\W*(?:system|developer|admin)\s*:",
        rf"^\W*(?:yes|fully|totally|completely|definitely|absolutely|100%)?[ ,]*{_JUDGED}\W*$",
        r"\bassume\b.*\b(?:correct|right|label|answer|same)\b",
    )
)


def spans(plain: str) -> list[tuple[int, int]]:
    """Return the clauses of folded text that talk to the judge, as offsets into it."""
    found = []
    for clause in _CLAUSE.finditer(plain):
        if any(pattern.search(clause.group().strip()) for pattern in _TALK):
            found.append(clause.span())
    return found
