"""Answers labelled by hand before the rules read them: what the rules get right of sentences not written for them.

`styles.jsonl`: fifty-nine phrasings of broken and verbose models, most of them with six labels. `second_styles.jsonl`:
denials, eliminations, second thoughts, reasoning aloud and repeated questions, one sentence each.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judges import judge
from judges.rerun.rows import answer_of

CASES = Path(__file__).parent / "held_out"


@pytest.mark.parametrize(("name", "at_least", "floor"), [("styles", 300, 0.99), ("second_styles", 120, 0.78)])
def test_styles_that_no_rule_was_fitted_to(name: str, at_least: int, floor: float) -> None:
    cases = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(cases) >= at_least
    wrong = []
    for case in cases:
        verdict = judge(*answer_of(case, name))
        if verdict.category != case["category"]:
            wrong.append(f"{case['style']}: {case['prediction']!r} ({case['label']}): {verdict.reason}")
    assert 1 - len(wrong) / len(cases) >= floor, "\n".join([f"{len(wrong)} of {len(cases)}", *wrong])
