"""What lmms-eval's own tasks log as objects: MME's questions of one image, MMStar's groups, MMMU's parsed answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.objects import grade
from leaderboards.comparison.samples import Samples, number_clusters, read_samples
from tests.support.synthetic_runs import write_run


def run_of(folder: Path, name: str, values: list[dict[str, Any]], metrics: tuple[str, ...]) -> Path:
    rows = [{"doc_id": i, "target": "a", "input": "q", "filtered_resps": "a", **v} for i, v in enumerate(values)]
    return write_run(folder, {name: rows}, **{name: {"metrics": metrics}})


def samples_of(folder: Path, name: str, values: list[dict[str, Any]], metrics: tuple[str, ...]) -> Samples:
    return read_samples(read_run(run_of(folder, name, values, metrics)).tasks[name])


def test_mme_asks_two_questions_of_an_image(tmp_path: Path) -> None:
    values = [
        {
            "mme_perception_score": {
                "question_id": f"{i // 2}.jpg",
                "category": ("color", "count")[i // 4],
                "score": i % 2,
            }
        }
        for i in range(8)
    ]
    samples = samples_of(tmp_path, "mme", values, ("mme_cognition_score", "mme_perception_score"))
    assert samples.frame["score"].to_list() == [0, 1] * 4
    assert samples.frame["class"].to_list() == ["color"] * 4 + ["count"] * 4
    clusters = number_clusters(samples.frame)
    assert clusters is not None
    assert clusters.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_mmstars_groups_are_its_own(tmp_path: Path) -> None:
    def values(right: int) -> list[dict[str, Any]]:
        found = [
            {"question_id": i, "l2_category": ("geometry", "counting")[i % 2], "score": float(i < right)}
            for i in range(8)
        ]
        return [{"average": one, ("math", "coarse perception")[i % 2]: one} for i, one in enumerate(found)]

    metrics = ("math", "coarse perception", "average")
    runs = [run_of(tmp_path / str(right), "mmstar", values(right), metrics) for right in (8, 3)]
    (task,) = compare(*map(read_run, runs)).tasks
    assert task.metric == "average"
    # Documents 0 and 2 of geometry's four are right, document 1 of counting's.
    assert {one.name: one.candidate for one in task.classes} == {"geometry": 50, "counting": 25}


def test_mmmu_is_graded_as_its_own_aggregation_does(tmp_path: Path) -> None:
    def answer(kind: str, right: Any, parsed: Any) -> dict[str, Any]:
        return {
            "id": "validation_Art_1",
            "subdomain": "Art",
            "question_type": kind,
            "answer": right,
            "parsed_pred": parsed,
        }

    answers = [
        answer("multiple-choice", "B", ["B"]),
        answer("multiple-choice", "B", ["A"]),
        answer("multiple-choice", "B", ["A", "B"]),  # one of two answers is enough
        answer("multiple-choice", "B", "B"),  # as older versions log it
        answer("open", "14.0", [["about 14", 14.0]]),
        answer("open", "['fourteen', '14']", [["13"]]),
        answer("open", "Paris", [["in paris, france"]]),
        answer("open", "1,000", [1000.0]),  # an older version's list of what was parsed
        answer("open", "c", [["cat"]]),  # a letter counts only beside a blank
    ]
    samples = samples_of(tmp_path, "mmmu_val", [{"mmmu_acc": one} for one in answers], ("mmmu_acc",))
    assert samples.frame["score"].to_list() == [1, 0, 1, 1, 1, 0, 1, 1, 0]
    assert set(samples.frame["class"]) == {"Art"}


@given(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=4), st.sampled_from("ABCD"))
def test_a_choice_is_right_if_one_of_its_answers_is(parsed: list[str], answer: str) -> None:
    assert grade({"answer": answer, "parsed_pred": parsed, "subdomain": "x"}) == float(answer in parsed)


def test_grades_agree_with_lmms_eval() -> None:
    """Beside `evaluate_mmmu`, which lmms-eval's own aggregation runs."""
    mmmu = pytest.importorskip("lmms_eval.tasks.mmmu.utils")
    for kind, right, parsed in [
        ("multiple-choice", "A", "A"),
        ("multiple-choice", "A", "C"),
        ("open", "0.5", ["0.50", 0.5]),
        ("open", ["red", "blue"], ["it is blue"]),
        ("open", "x", ["axe"]),
        ("open", "x", ["an x there"]),
        ("open", "3,200", [3200.0]),
    ]:
        sample = {"id": "1", "subdomain": "x", "question_type": kind, "answer": right, "parsed_pred": [parsed]}
        assert grade(sample) == mmmu.evaluate_mmmu([sample])[1]["acc"], sample


def test_a_score_may_have_another_name_and_an_object_none(tmp_path: Path) -> None:
    named = samples_of(
        tmp_path / "a", "other", [{"m": {"is_correct": i % 2 == 0, "task": "x"}} for i in range(4)], ("m",)
    )
    assert named.frame["score"].to_list() == [1, 0, 1, 0]
    with pytest.raises(UserError, match="'m' is an object without 'score' for doc_id 0"):
        samples_of(tmp_path / "b", "other", [{"m": {"answer": "A", "pred": "B"}}], ("m",))
