"""Answers in the styles that broken and verbose models have, labelled by hand; no rule was fitted to them.

Fifty-nine phrasings, most of them with six labels, and subtypes in sentences: unfinished thoughts, the prompt's options
repeated, elimination, JSON with alternatives or reasons, ranked lists. The file came before the rules for them.
"""

from __future__ import annotations

import json
from pathlib import Path

from emt_tasks.datasets.vocabularies import load
from judges import Classification, MultipleChoice, judge
from judges.target import Target

CASES = Path(__file__).parent / "held_out" / "styles.jsonl"


def test_styles_that_no_rule_was_fitted_to() -> None:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    assert len(cases) >= 300
    wrong = []
    for case in cases:
        target: Target = (
            MultipleChoice(case["label"], case["choices"])
            if case["task"] == "multiple_choice"
            else Classification(case["label"], load(case["task"]))
        )
        verdict = judge(case["prediction"], target)
        if verdict.category != case["category"]:
            wrong.append(f"{case['style']}: {case['prediction']!r} ({case['label']}): {verdict.reason}")
    assert len(wrong) / len(cases) <= 0.03, "\n".join([f"{len(wrong)} of {len(cases)}", *wrong])
