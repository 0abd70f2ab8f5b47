"""Which metric tasks are compared by: our own, MMStar's, MME's, and those whose direction nobody states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.runs import Task, read_run
from emt_tasks.commands.app import main
from leaderboards.comparison.metrics import choose, label, parse, survey
from leaderboards.comparison.samples import read_samples
from tests.support.synthetic_runs import STAMP, write_run

MMSTAR = ("coarse perception", "fine-grained perception", "average")


def rows(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"doc_id": i, "target": "a", "filtered_resps": "a", "input": "q", **v} for i, v in enumerate(values)]


def write(
    folder: Path, values: Sequence[Mapping[str, Any]], better: Mapping[str, bool | None], name: str = "m"
) -> Path:
    run = write_run(folder, {"other": rows(values)}, other={"metrics": tuple(better)}, name=name)
    file = run / f"{STAMP}_results.json"
    results = json.loads(file.read_text(encoding="utf-8"))
    results["higher_is_better"]["other"] = dict(better)
    file.write_text(json.dumps(results), encoding="utf-8")
    return run


def read(
    folder: Path, values: Sequence[Mapping[str, Any]], better: Mapping[str, bool | None], wanted: str | None = None
):
    return read_samples(read_run(write(folder, values, better)).tasks["other"], wanted)


def test_mmstar_is_compared_by_what_every_sample_logs(tmp_path: Path) -> None:
    """A sixth of the samples log the first sub-score; all of them log the average."""
    values = [{MMSTAR[i % 2]: {"score": i % 3 == 0}, "average": {"score": i % 3 == 0}} for i in range(6)]
    samples = read(tmp_path, values, dict.fromkeys(MMSTAR, True))
    assert samples.metric == "average"
    assert samples.frame["score"].to_list() == [1, 0, 0, 1, 0, 0]


def test_the_halves_of_mme_are_one_metric(tmp_path: Path) -> None:
    halves = ("mme_cognition_score", "mme_perception_score")
    values = [{halves[i >= 250]: {"question_id": i, "score": float(i % 2)}} for i in range(300)]
    samples = read(tmp_path, values, dict.fromkeys(halves, True))
    assert samples.metric == "mme_cognition_score+mme_perception_score"
    assert samples.frame["unscored"].sum() == 0
    assert samples.frame["score"].sum() == 150
    run = read_run(tmp_path).tasks["other"]
    half = read_samples(run, "mme_perception_score")
    assert half.frame["unscored"].sum() == 250
    again = read_samples(run, samples.metric)
    assert again.frame.equals(samples.frame, null_equal=True)


@pytest.mark.parametrize(("wanted", "scores"), [("wer:lower", [0.75, 1.0, 0.0]), ("wer:higher", [0.25, 0.0, 1.0])])
def test_an_unknown_direction_is_asked_for(tmp_path: Path, wanted: str, scores: list[float]) -> None:
    values = [{"wer": 0.25}, {"wer": 0}, {"wer": 1.0}]
    with pytest.raises(UserError, match=r"the run does not say whether wer .* --metric other=wer:higher or wer:lower"):
        read(tmp_path, values, {"wer": None})
    with pytest.raises(UserError, match="does not say whether wer is better"):
        read(tmp_path, values, {"wer": None}, "wer")
    samples = read(tmp_path, values, {"wer": None}, wanted)
    assert (samples.metric, samples.frame["score"].to_list()) == (wanted, scores)


def test_a_metric_that_is_better_when_lower_is_turned(tmp_path: Path) -> None:
    samples = read(tmp_path, [{"wer": 0.25}, {"wer": 0}, {"wer": True}], {"wer": False})
    assert (samples.metric, samples.frame["score"].to_list()) == ("wer:lower", [0.75, 1.0, 0.0])
    assert label(samples.metric) == "1 − wer"


def test_a_word_error_rate_that_got_worse_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20 points worse on each of 300 documents: a drop of 20 points, whichever way the metric is written."""
    runs = [str(write(tmp_path, [{"wer": wer}] * 300, {"wer": None}, name)) for name, wer in (("a", 0.1), ("b", 0.3))]
    assert main(["gate", *runs]) == 2
    assert "other=wer:higher or wer:lower" in capsys.readouterr().err
    assert main(["gate", *runs, "--metric", "other=wer:lower", "--json"]) in (1, 2)
    data = json.loads(capsys.readouterr().out)
    assert data["tasks"][0]["forgetting"]["estimate"] == pytest.approx(20)
    assert data["compared_by"] == ["compared by 1 − wer: other (another: --metric other=NAME)"]
    main(["gate", *runs, "--metric", "other=wer:lower"])
    assert "compared by 1 − wer: other (another: --metric other=NAME)" in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert main(["report", *runs, "--metric", "other=wer:lower", "-o", str(page)]) == 0
    assert "compared by 1 − wer: other (another: --metric other=NAME)" in page.read_text(encoding="utf-8")


def test_base_and_candidate_are_compared_by_one_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [{"x": 0.5}] * 9
    runs = [str(write(tmp_path, values, {"x": higher}, name)) for name, higher in (("a", True), ("b", False))]
    assert main(["gate", *runs]) == 2
    assert "base is compared by x, candidate by x:lower: name one with --metric other=NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([{"a": 1, "b": 1}, {"a": 1}, {}], r"each of the 3 samples \(a 2, b 1\): choose one with --metric other=NAME"),
        ([{"a": 1}, {"a": 1, "b": 1}, {"b": 1}], r"by each of the 3 samples \(a 2, b 2\)"),
        ([{}, {}], r"no metric is logged for each sample as a number \(no sample has a or b\)"),
        ([{"a": 1e400, "b": "x"}], r"'a' is inf for doc_id 0, expected a number; 'b' is 'x' for doc_id 0"),
        ([{"a": [1]}, {"b": {"x": 1}}], r"'a' is a list for doc_id 0, .*; 'b' is an object without 'score' for"),
    ],
)  # fmt: skip
def test_no_choice_is_told(tmp_path: Path, values: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, values, {"a": True, "b": True})


def test_parts_that_meet_on_one_sample_cannot_be_joined(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="some samples log more than one of these"):
        read(tmp_path, [{"a": 1, "b": 1}, {"b": 1}], {"a": True, "b": True}, "a+b")


def test_no_metric_at_all_ends_in_something(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"\(the run has no metric at all: judge its answers with emt judge, or leave the task out\)"
    ):
        read(tmp_path, [{}], {})
    with pytest.raises(
        UserError, match=r"\(the run has no metric at all: judge its answers with emt judge, or leave the task out\)"
    ):
        read(tmp_path, [{}], {}, "x")


NAMES = ("a", "b", "c+d", "e:lower")


@given(
    st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0, 0.25, 1, True, None])), min_size=1),
    st.fixed_dictionaries({name: st.sampled_from([True, False, None]) for name in NAMES}),
)
def test_the_choice_is_on_every_sample_and_reads_back(
    values: list[dict[str, Any]], better: Mapping[str, bool | None]
) -> None:
    task = Task("t", Path("x"), metrics=NAMES, higher_is_better=better)
    found = survey(task, rows(values))
    try:
        metric = choose(task, found, None)
    except UserError:
        return
    assert all(better[name] is not None for name in metric.names)
    assert parse(task, str(metric)) == metric
    logs = [sum(value.get(name) is not None for name in metric.names) for value in values]
    assert max(logs) == 1
    # One that is the only one may be missing here and there: those samples are unscored.
    assert min(logs) == 1 or len([name for name in NAMES if found.scores[name]]) == 1
    for value, count in zip(values, logs, strict=True):
        score = metric.score(value, "score")
        assert (score is None) == (count == 0)
        if count:
            (logged,) = [float(value[name]) for name in metric.names if value.get(name) is not None]
            assert score == (logged if metric.direction == "higher" else 1 - logged)
