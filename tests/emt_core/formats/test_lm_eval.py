"""Runs of lm-evaluation-harness: data/lm_eval has 12 documents of what tests/support/lm_eval_runs.py wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.files import read_rows
from emt_core.runs import read_run
from leaderboards.comparison.samples import read_samples

DATA = Path(__file__).parent / "data" / "lm_eval"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "base", tmp_path / "base"))


def results(run: Path) -> Path:
    return next(run.glob("results_*.json"))


def test_a_run_has_its_tasks_groups_and_metrics(run: Path) -> None:
    for path in (run, run.parent, results(run)):
        found = read_run(path)
        assert found.name == "base/model"
        assert found.groups == {"sums": ("which_sum", "write_sum")}
        assert found.tasks["which_sum"].metrics == ("acc", "acc_norm")
        assert found.tasks["which_sum"].version == "1.0"
        # Two filters: each metric is one for each, in the filters' order.
        assert found.tasks["write_sum"].metrics == ("exact_match,strict", "exact_match,digits")


def test_scores_are_those_that_the_harness_logged(run: Path) -> None:
    samples = read_samples(read_run(run).tasks["which_sum"])
    logged = {row["doc_id"]: row["acc"] for _, row in read_rows(next(run.glob("samples_which_sum_*")))}
    assert samples.metric == "acc"
    assert dict(samples.frame.select("doc_id", "score").iter_rows()) == logged
    assert 0 < sum(logged.values()) < 12


def test_the_likeliest_option_is_the_prediction(run: Path) -> None:
    file = read_run(run).tasks["which_sum"].samples
    for (_, row), (_, given) in zip(read_rows(file), read_rows(next(run.glob("samples_which_sum_*"))), strict=True):
        assert row["target"] == given["doc"]["options"][0]
        likelihoods = [float(one[0]) for one in given["filtered_resps"]]
        assert row["filtered_resps"] == given["doc"]["options"][likelihoods.index(max(likelihoods))]


def test_filters_are_paired_by_document(run: Path) -> None:
    file = next(run.glob("samples_write_sum_*"))
    rows = [row for _, row in read_rows(file)]
    for row in rows:  # as if the second filter had found what the first one misses
        row["exact_match"] = float(row["filter"] == "digits" and row["doc_id"] % 2)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = read_run(run).tasks["write_sum"]
    assert read_samples(task).frame["score"].sum() == 0
    assert read_samples(task, "exact_match,digits").frame["score"].to_list() == [0, 1] * 6

    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]), encoding="utf-8")
    with pytest.raises(UserError, match="expected each document with each of the filters strict, digits, once"):
        read_samples(read_run(run).tasks["write_sum"])


def test_faults_are_told(run: Path) -> None:
    other = results(run).with_name("results_2026-11-28T00-00-00.000000.json")
    shutil.copy(results(run), other)
    with pytest.raises(UserError, match=r"contains 2 runs of lm-evaluation-harness \(results_.*\): choose one file"):
        read_run(run)
    with pytest.raises(UserError, match=r"samples_which_sum_.* is missing: run lm_eval again with --log_samples"):
        read_run(other)
    other.write_text('{"results": []}', encoding="utf-8")
    with pytest.raises(UserError, match="field 'results': expected an object"):
        read_run(other)
    other.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as lm-evaluation-harness's results"):
        read_run(other)
