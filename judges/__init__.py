"""Text in, verdict out: does an answer name the right label, a wrong one, several or none?

Start with `judge`. Imports nothing else of this project, and never torch at import time.
"""

from emt_core.errors import UserError, one_line
from judges.judging import JUDGE_NAMES, Judge, get_judge, judge
from judges.target import Classification, MultipleChoice, ShortAnswer, Target
from judges.verdict import CATEGORIES, Category, Match, Verdict
from judges.vocabulary import Label, Vocabulary, find_vocabulary

__all__ = [
    "CATEGORIES",
    "JUDGE_NAMES",
    "Category",
    "Classification",
    "Judge",
    "Label",
    "Match",
    "MultipleChoice",
    "ShortAnswer",
    "Target",
    "UserError",
    "Verdict",
    "Vocabulary",
    "find_vocabulary",
    "get_judge",
    "judge",
    "one_line",
]
