"""Text in, verdict out: does an answer name the right label, a wrong one, several or none?

Start with `judge`. Imports `emt_core` and nothing else of this project; each judge is loaded when it is first asked
for, so that importing this loads neither the rules nor torch.
"""

from judges.judging import JUDGE_NAMES, Judge, get_judge, judge
from judges.target import Classification, MultipleChoice, ShortAnswer, Target
from judges.verdict import CATEGORIES, Match, Verdict
from judges.vocabulary import Label, Vocabulary, find_vocabulary

__all__ = [
    "CATEGORIES",
    "JUDGE_NAMES",
    "Classification",
    "Judge",
    "Label",
    "Match",
    "MultipleChoice",
    "ShortAnswer",
    "Target",
    "Verdict",
    "Vocabulary",
    "find_vocabulary",
    "get_judge",
    "judge",
]
