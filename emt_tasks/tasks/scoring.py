"""From a model's answers to the per-sample metrics that every task logs, and from those to a task's means."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Sequence
from typing import Any

from emt_core.errors import UserError
from judges import Classification, Match, MultipleChoice, ShortAnswer, Target, Verdict
from judges.judging import Judge, get_judge, with_version
from judges.verdict import JUDGED_BY

JUDGE_VARIABLE = "EMT_JUDGE"


def chosen_judge(judge: str | None = None) -> Judge:
    """Return the judge that the task's YAML asks for; else that of $EMT_JUDGE, else `fuzzy`."""
    return get_judge(judge or os.environ.get(JUDGE_VARIABLE) or "fuzzy")


def choose_likeliest(results: Sequence[Any], names: Sequence[str], right: set[int]) -> Verdict:
    """Choose the label with the smallest negative log-likelihood.

    `results` has one (negative log-likelihood in nats, is greedy) per name; `right` has the correct indices.
    The confidence is the probability that the model gives its choice among these labels.
    """
    losses = [_loss(result) for result in results]
    best = min(range(len(losses)), key=losses.__getitem__)
    confidence = 1 / sum(math.exp(losses[best] - loss) for loss in losses)
    return Verdict(
        category="correct" if best in right else "incorrect",
        matches=(Match(names[best], 0, 0, "", "likelihood"),),
        judge="likelihood",
        confidence=round(confidence, 6),
        reason=f"'{names[best]}' is the likeliest of {len(names)} labels.",
    )


def sample(verdict: Verdict, target: Target, *, judge: Judge | None = None) -> dict[str, Any]:
    """What is logged of an answer: the metrics, the verdict, by which judge, and what it was judged against."""
    judged_by = with_version(judge) if judge else verdict.judge
    judged = {"verdict": verdict.as_dict(), JUDGED_BY: judged_by, "judge_target": describe_target(target)}
    return {**verdict.metrics(), **judged}


def mean(scores: Sequence[float | None]) -> float:
    """The mean over the scored samples; NaN if there are none."""
    scored = [score for score in scores if score is not None]
    return sum(scored) / len(scored) if scored else math.nan


def describe_target(target: Target) -> dict[str, Any]:
    """Return what an answer was judged against, so that it can be rejudged without the data set."""
    if isinstance(target, Classification):
        return {"kind": "classification", "vocabulary": target.vocabulary.name, "label": target.label}
    if isinstance(target, MultipleChoice):
        described = {"kind": "multiple_choice", "label": target.label, "choices": list(target.choices)}
        return described | ({"class_name": target.class_name} if target.class_name else {})
    if isinstance(target, ShortAnswer):
        return {"kind": "short_answer", "label": target.label}
    raise TypeError(f"{type(target).__name__} is not a target")


def _loss(result: Any) -> float:
    """Read one log-likelihood, which lmms-eval 0.7 converts to text for models that return pairs."""
    if isinstance(result, str):
        try:
            result = ast.literal_eval(result)
        except (SyntaxError, ValueError) as error:
            raise UserError(f"log-likelihood {result[:80]!r} is not a pair (loss, is greedy)") from error
    return float(result[0])
