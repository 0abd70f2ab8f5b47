"""Judging the logged answers of other harnesses' runs: the copy is a run of lmms-eval's, the original stays."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.files import read_rows
from emt_core.runs import read_run
from judges.judging import get_judge
from judges.rerun.rejudge import check_output, find_work, rejudge
from leaderboards.comparison.samples import read_samples

DATA = Path(__file__).parents[2] / "emt_core" / "formats" / "data"


def test_predictions_of_vlmevalkit_are_judged(tmp_path: Path) -> None:
    work = find_work(DATA / "vlmevalkit" / "base", ["MMStar", "POPE"])
    counts = rejudge(work, tmp_path / "judged", get_judge("fuzzy"))
    run = read_run(tmp_path / "judged")
    assert set(run.tasks) == {"DocVQA_VAL", "MMStar", "POPE"}
    # Of 120 answers each, 110 are right: VLMEvalKit's own scores say so too.
    assert counts["correct"] == 220
    for task in ("MMStar", "POPE"):
        samples = read_samples(run.tasks[task])
        assert (samples.metric, samples.judged, samples.frame["score"].sum()) == ("accuracy", True, 110)
    assert read_samples(run.tasks["DocVQA_VAL"]).metric == "eval_match"  # it was not judged


def test_a_table_is_judged_row_by_row(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "score": 0, "prediction": "it is 4" if i < 2 else "5", "target": "4"} for i in range(3)]
    file = tmp_path / "scores.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert rejudge(find_work(file), tmp_path / "judged", get_judge("fuzzy")) == Counter(correct=2, incorrect=1)
    (samples,) = (tmp_path / "judged").glob("*_samples_*.jsonl")
    assert [row["document"] for _, row in read_rows(samples)] == ["q0", "q1", "q2"]


def test_plain_rows_stay_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "task": "emt_cifar10", "label": "cat", "prediction": "a cat"}\n', encoding="utf-8")
    assert not find_work(file).is_run


def test_what_cannot_be_judged_is_told(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("id,score,prediction\na,1,x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"scores\.csv: no task has both predictions and a target to judge them by"):
        find_work(file)
    run = DATA / "vlmevalkit" / "base"
    with pytest.raises(UserError, match=r"--task OCRBench: not in .*vlmevalkit/base; found DocVQA_VAL, MMStar, POPE"):
        find_work(run, ["OCRBench"])
    with pytest.raises(UserError, match=r"overlaps the input .*vlmevalkit/base, which is never written to"):
        check_output(find_work(run), run / "judged", overwrite=False)
