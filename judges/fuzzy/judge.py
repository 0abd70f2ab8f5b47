"""The default judge: rules, no model, no network, the same verdict every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from judges.fuzzy.classification import ClassificationJudge
from judges.fuzzy.multiple_choice import judge_choice
from judges.fuzzy.short_answer import judge_short_answer
from judges.fuzzy.text import markup
from judges.target import Classification, MultipleChoice, Target
from judges.verdict import Match, Verdict

LONGEST = 16_000
"""Of an answer with more characters, only the first and the last half as many are read."""


_CUT = "\n.\n"
"""Stands for the middle of a long answer: no name continues across it."""


class FuzzyJudge:
    """Judges every kind of target by the rules of its kind. Safe to share between threads."""

    name = "fuzzy"

    def __init__(self) -> None:
        self._classification = ClassificationJudge()

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer; of a very long one, the beginning and the end.

        Raises:
            UserError: the target's label is not in its vocabulary or among its choices.
        """
        if len(prediction) > LONGEST:
            return self._judge_long(prediction, target)
        return self._judge(prediction, target)

    def _judge_long(self, prediction: str, target: Target) -> Verdict:
        """Judge an answer without its thoughts and without its middle: one that loops takes no longer than others."""
        text = markup.without_thoughts(prediction)
        head, tail = text[: LONGEST // 2], text[-LONGEST // 2 :]
        verdict = self._judge(f"{head}{_CUT}{tail}", target)
        moved = len(prediction) - len(tail) - len(head) - len(_CUT)

        def placed(match: Match) -> Match:
            if match.start < len(head):
                end = min(match.end, len(head))
                return replace(match, end=end, text=prediction[match.start : end])
            return replace(match, start=match.start + moved, end=match.end + moved)

        matches = tuple(map(placed, verdict.matches))
        reason = f"{verdict.reason}; only the first and last {LONGEST // 2:,} characters were read"
        return replace(verdict, matches=matches, reason=reason)

    def _judge(self, prediction: str, target: Target) -> Verdict:
        if isinstance(target, Classification):
            return self._classification.judge(prediction, target)
        if isinstance(target, MultipleChoice):
            return judge_choice(prediction, target)
        return judge_short_answer(prediction, target)

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order."""
        return (self.judge(prediction, target) for prediction, target in items)
