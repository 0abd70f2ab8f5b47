"""The default judge: rules, no model, no network, the same verdict every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from judges.fuzzy.classification import ClassificationJudge
from judges.fuzzy.multiple_choice import judge_choice
from judges.fuzzy.short_answer import judge_short_answer
from judges.target import Classification, MultipleChoice, Target
from judges.verdict import Verdict


class FuzzyJudge:
    """Judges every kind of target by the rules of its kind. Safe to share between threads."""

    name = "fuzzy"

    def __init__(self) -> None:
        self._classification = ClassificationJudge()

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer.

        Raises:
            UserError: the target's label is not in its vocabulary or among its choices.
        """
        if isinstance(target, Classification):
            return self._classification.judge(prediction, target)
        if isinstance(target, MultipleChoice):
            return judge_choice(prediction, target)
        return judge_short_answer(prediction, target)

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order."""
        return (self.judge(prediction, target) for prediction, target in items)
