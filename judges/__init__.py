"""Text in, verdict out: does an answer name the right label, a wrong one, several or none?

Start with `judge` for one answer, `get_judge` for many, and `rejudge` for a whole run. Imports `emt_core` and nothing
else of this project. Names load when first used: importing this package loads neither the rules nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emt_core.lazy import lazy

if TYPE_CHECKING:
    from judges.fuzzy.judge import FuzzyJudge
    from judges.judging import JUDGE_NAMES, Judge, get_judge, judge
    from judges.llm.cascade import CascadeJudge
    from judges.llm.judge import LLMJudge
    from judges.llm.panel import PanelJudge
    from judges.rerun.agreement import agreement, read_opinions
    from judges.rerun.rejudge import find_work, rejudge
    from judges.rerun.reliability import reliability
    from judges.target import Classification, MultipleChoice, ShortAnswer, Target
    from judges.verdict import CATEGORIES, Match, Verdict, Vote
    from judges.vocabulary import Label, Vocabulary, find_vocabulary

__all__ = [
    "CATEGORIES",
    "JUDGE_NAMES",
    "CascadeJudge",
    "Classification",
    "FuzzyJudge",
    "Judge",
    "LLMJudge",
    "Label",
    "Match",
    "MultipleChoice",
    "PanelJudge",
    "ShortAnswer",
    "Target",
    "Verdict",
    "Vocabulary",
    "Vote",
    "agreement",
    "find_vocabulary",
    "find_work",
    "get_judge",
    "judge",
    "read_opinions",
    "rejudge",
    "reliability",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CATEGORIES": "judges.verdict",
        "CascadeJudge": "judges.llm.cascade",
        "Classification": "judges.target",
        "FuzzyJudge": "judges.fuzzy.judge",
        "JUDGE_NAMES": "judges.judging",
        "Judge": "judges.judging",
        "LLMJudge": "judges.llm.judge",
        "Label": "judges.vocabulary",
        "Match": "judges.verdict",
        "MultipleChoice": "judges.target",
        "PanelJudge": "judges.llm.panel",
        "ShortAnswer": "judges.target",
        "Target": "judges.target",
        "Verdict": "judges.verdict",
        "Vocabulary": "judges.vocabulary",
        "Vote": "judges.verdict",
        "agreement": "judges.rerun.agreement",
        "find_vocabulary": "judges.vocabulary",
        "find_work": "judges.rerun.rejudge",
        "get_judge": "judges.judging",
        "judge": "judges.judging",
        "read_opinions": "judges.rerun.agreement",
        "rejudge": "judges.rerun.rejudge",
        "reliability": "judges.rerun.reliability",
    },
)
