"""From a model's answers to the per-sample metrics that every task logs, and from those to a task's means."""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emt_core.errors import UserError
from judges import Classification, Match, MultipleChoice, ShortAnswer, Target, Verdict
from judges.judging import Judge, get_judge, with_version
from judges.verdict import JUDGED_BY, LIKELIHOOD

JUDGE_VARIABLE = "EMT_JUDGE"

_TOP = 5


def chosen_judge(judge: str | None = None) -> Judge:
    """Return the judge that the task's YAML asks for; else that of $EMT_JUDGE, else `fuzzy`."""
    return get_judge(judge or os.environ.get(JUDGE_VARIABLE) or "fuzzy")


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How likely a model finds one label, in nats: the negative log-likelihood of all of its tokens.

    `tokens` is how many they are, and `prior` how likely the model finds the label behind the same prompt without the
    image; None where the model did not say.
    """

    nll: float
    tokens: int | None = None
    prior: float | None = None

    @classmethod
    def read(cls, result: Any) -> LabelScore:
        """Read what a model returned: a pair of the loss and what else is known, which lmms-eval 0.7 turns to text.

        Raises:
            UserError: it is no such pair.
        """
        if isinstance(result, str):
            try:
                result = ast.literal_eval(result)
            except (SyntaxError, ValueError) as error:
                raise UserError(f"log-likelihood {result[:80]!r} is not a pair (loss, is greedy)") from error
        loss, known = result
        return cls(float(loss), *(known[1:] if isinstance(known, tuple | list) else ()))


def choose_likeliest(scores: Sequence[LabelScore], names: Sequence[str], right: set[int]) -> Verdict:
    """Choose the label with the smallest negative log-likelihood, summed over its tokens.

    `scores` has one for each name; `right` has the correct indices. The confidence is the probability that the model
    gives its choice among these labels.
    """
    losses = [score.nll for score in scores]
    best = min(range(len(losses)), key=losses.__getitem__)
    return Verdict(
        category="correct" if best in right else "incorrect",
        matches=(Match(names[best], 0, 0, "", LIKELIHOOD),),
        judge=LIKELIHOOD,
        confidence=round(_probabilities(losses)[best], 6),
        reason=f"'{names[best]}' is the likeliest of {len(names)} labels.",
    )


def closed_set(scores: Sequence[LabelScore], names: Sequence[str], right: set[int]) -> dict[str, Any]:
    """Return what a closed set tells beside its verdict, as each sample logs it.

    `top` has the five likeliest labels with their probabilities among all, `rank` the place of the first right one
    (1: the likeliest), `wrong` the likeliest wrong label. `by_mean` is the label with the least loss for each token,
    `by_pmi` that whose likelihood rises most above its prior (PMI; Holtzman et al., arXiv 2104.08315); None where they
    are not known.
    """
    losses = [score.nll for score in scores]
    order = sorted(range(len(losses)), key=losses.__getitem__)
    probabilities = _probabilities(losses)

    def least(values: Sequence[float | None]) -> str | None:
        known = [value for value in values if value is not None]
        return names[known.index(min(known))] if len(known) == len(names) else None

    return {
        "top": [[names[index], round(probabilities[index], 6)] for index in order[:_TOP]],
        "rank": next(place for place, index in enumerate(order, start=1) if index in right),
        "wrong": next((names[index] for index in order if index not in right), None),
        "by_mean": least([score.nll / score.tokens if score.tokens else None for score in scores]),
        "by_pmi": least([None if score.prior is None else score.nll - score.prior for score in scores]),
    }


def _probabilities(losses: Sequence[float]) -> list[float]:
    """Return each label's probability among all."""
    least = min(losses)
    weights = [math.exp(least - loss) for loss in losses]
    total = sum(weights)
    return [weight / total for weight in weights]


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
