"""Text in, verdict out: does an answer name the right label, a wrong one, several or none?

Start with `judge`. Imports nothing else of this project, and never torch at import time.
"""

from judges.errors import UserError, one_line
from judges.target import Classification, MultipleChoice, ShortAnswer, Target
from judges.verdict import CATEGORIES, Category, Match, Verdict
from judges.vocabulary import Label, Vocabulary

__all__ = [
    "CATEGORIES",
    "Category",
    "Classification",
    "Label",
    "Match",
    "MultipleChoice",
    "ShortAnswer",
    "Target",
    "UserError",
    "Verdict",
    "Vocabulary",
    "one_line",
]
