"""What lmms-eval's own tasks log as an object for each sample: where its score, its group and its cluster stand.

Most objects hold a score. MMMU's hold the answer and what was parsed from the model's, which the task's aggregation
compares; here as there, sample by sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

SCORES = ("score", "correct", "is_correct", "hit", "true_false", "accuracy", "acc", "exact_match")
"""What the score is called, unless the task's config has a `score_key`; better when the metric is."""

GROUPS = ("category", "l2_category", "subdomain", "subject", "sub_category", "task_type", "task")
"""What the group is called that the task's own breakdown is by; of several the first."""

CLUSTERS = {"mme_perception_score": "question_id", "mme_cognition_score": "question_id"}
"""By metric: what names the image, where several questions are asked about one. MME asks two."""


def score_of(value: Mapping[str, Any], key: str = "score") -> Any:
    """Return the score in an object, under `key` if it is there; None where it holds none."""
    found = next((name for name in (key, *SCORES) if name in value), None)
    if found is not None:
        return value[found]
    return grade(value) if is_graded(value) else None


def has_score(value: Mapping[str, Any], key: str = "score") -> bool:
    """Whether an object holds a score, if only as an answer to compare."""
    return key in value or any(name in value for name in SCORES) or is_graded(value)


def first_key(objects: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> str | None:
    """Return the first of the keys that one of the objects has."""
    present = {name for value in objects for name in value}
    return next((key for key in keys if key in present), None)


def is_graded(value: Mapping[str, Any]) -> bool:
    """Whether an object is one of MMMU's: the answer, and what was parsed from the model's."""
    return "answer" in value and "parsed_pred" in value and ("subdomain" in value or "subject" in value)


def grade(value: Mapping[str, Any]) -> float:
    """Return 1 if MMMU's rules take a parsed answer as right, else 0; of several answers one is enough.

    Source: MMMU's eval/eval_utils.py (`eval_multi_choice`, `eval_open`), which lmms-eval's `evaluate_mmmu` runs.
    """
    answer, parsed = value["answer"], value["parsed_pred"]
    if value.get("question_type", "multiple-choice") == "multiple-choice":
        # Since lmms-eval 0.7.2 a list with one entry for each answer that the model gave.
        given = parsed if isinstance(parsed, list) else [parsed]
        right = answer if isinstance(answer, list) else [answer]
        return float(any(one in right for one in given))
    given = parsed if isinstance(parsed, list) and parsed and isinstance(parsed[0], list) else [parsed]
    return float(any(_is_right_open(answer, one if isinstance(one, list) else [one]) for one in given))


def grade_text(text: str | None) -> float | None:
    """Grade an object that is given as JSON; None for what is no such object."""
    if text is None or not text.startswith("{"):
        return None
    value = json.loads(text)
    return grade(value) if is_graded(value) else None


def _is_right_open(answer: Any, candidates: Iterable[Any]) -> bool:
    right = [one for each in (answer if isinstance(answer, list) else [answer]) for one in _normal(str(each))]
    texts = [one for one in right if isinstance(one, str)]
    return any(
        any(one in candidate for one in texts) if isinstance(candidate, str) else candidate in right
        for candidate in candidates
    )


def _normal(text: str) -> list[str | float]:
    """Return a number to two decimals; a text in small letters, a single letter only beside a blank."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
