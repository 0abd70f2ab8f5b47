"""Every format: written by the command, read back by those who read it."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.summary import RunSummary, summarise
from leaderboards.exports import FORMATS, ExportSettings, export
from tests.support.synthetic_runs import judged_sample, write_run

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
SETTINGS = ExportSettings(model="org/name", datasets={"emt_mnist": "ylecun/mnist"}, now=NOW)
HOSTILE = "a|b\n\u2028\x85\x00 <script> {} % & _ \\ 🙂"


@pytest.fixture
def summary(tmp_path: Path) -> RunSummary:
    """A run of three tasks: 6 of 9 right and one unscored; one whose data set no hub has; nothing scored."""
    kinds = ["correct"] * 6 + ["incorrect", "intrinsic", "extrinsic", "unscored"]
    rows = [judged_sample(i, kind, text=HOSTILE, prompt=HOSTILE) for i, kind in enumerate(kinds)]
    choices = {"kind": "multiple_choice", "label": "B", "choices": ["one", "two"]}
    answered = [judged_sample(0, "correct", judge_target=choices, cluster="x"), judged_sample(1, "incorrect")]
    tasks = {"emt_mnist": rows, "imagewikiqa": answered, "ocr_vqa": [judged_sample(0, "unscored")]}
    hub = {"config": {"dataset_path": "org/other", "test_split": "test"}}
    run = write_run(tmp_path / "run", tasks, name="a_b%", groups={"g_1": ["emt_mnist", "imagewikiqa"]}, emt_mnist=hub)
    return summarise(read_run(run))


def _only(files: list[Path]) -> str:
    assert len(files) == 1
    return files[0].read_text(encoding="utf-8")


def test_csv(summary: RunSummary, tmp_path: Path) -> None:
    rows = list(csv.DictReader(_only(export(summary, "csv", tmp_path / "out", SETTINGS)).splitlines()))
    found = {(row["name"], row["metric"]): row for row in rows}
    first = found["emt_mnist", "accuracy"]
    # 6 of 9; Wilson by hand as in test_summary: 35.42 to 87.94.
    assert (first["percent"], first["n"], first["unscored"], first["method"]) == ("66.6667", "9", "1", "Wilson score")
    assert (float(first["lower"]), float(first["upper"])) == pytest.approx((35.42, 87.94), abs=0.01)
    assert (first["model"], first["kind"], first["judge"], first["date"]) == ("org/name", "task", "fuzzy", "2026-01-01")
    assert found["emt_mnist", "extrinsic"]["percent"] == "11.1111"
    assert found["oodt_idi", "accuracy"]["kind"] == "quadrant"
    assert found["g_1", "accuracy"]["kind"] == "group"
    assert ("ocr_vqa", "accuracy") not in found


def test_markdown(summary: RunSummary, tmp_path: Path) -> None:
    lines = _only(export(summary, "markdown", tmp_path / "out", SETTINGS)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}
    assert any(line.startswith(r"| emt\_mnist | 9 | 66.7 (35.4 to 87.9) | 11.1 (") for line in table)
    assert any(line.startswith(r"| *g\_1* (mean) | 11 |") for line in table)


def test_latex(summary: RunSummary, tmp_path: Path) -> None:
    text = _only(export(summary, "latex", tmp_path / "out", SETTINGS))
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {6}
    assert r"emt\_mnist & 9 & 66.7 {\small [35.4, 87.9]}" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    unescaped = re.findall(r"(?<!\\)[_%#$]", "\n".join(body).replace("$n$", ""))
    assert unescaped == []


def test_hf_eval_results(summary: RunSummary, tmp_path: Path) -> None:
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub._eval_results import parse_eval_result_entries

    files = export(summary, "hf-eval-results", tmp_path / "out", SETTINGS)
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [".eval_results/ylecun--mnist.yaml"]
    data = yaml.safe_load(files[0].read_text(encoding="utf-8"))
    (entry,) = parse_eval_result_entries(data)
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == (
        "ylecun/mnist",
        "emt_mnist",
        66.6667,
        "2026-01-01",
    )
    assert entry.notes is not None
    assert "95 % interval 35.42 to 87.94 (Wilson score); n = 9; 1 unscored; judge: fuzzy" in entry.notes
    assert eval_result_entries_to_yaml([entry]) == data


def test_a_task_without_a_data_set_on_the_hub_is_left_out_or_refused(summary: RunSummary, tmp_path: Path) -> None:
    # What the run was loaded from counts where nothing is told.
    files = export(summary, "hf-eval-results", tmp_path / "hub", ExportSettings(now=NOW))
    assert [file.name for file in files] == ["org--other.yaml"]
    run = write_run(tmp_path / "local", {"t": [judged_sample(0, "correct")]})
    with pytest.raises(UserError, match="add --dataset t=ORG/NAME"):
        export(summarise(read_run(run)), "hf-eval-results", tmp_path / "none", ExportSettings(now=NOW))
    assert list((tmp_path / "none").iterdir()) == []


def test_model_index(summary: RunSummary, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    (file,) = export(summary, "model-index", tmp_path / "out", SETTINGS)
    card = ModelCard.load(file)
    results = card.data.eval_results
    assert results is not None
    found = {(result.task_name, result.metric_type): result for result in results}
    accuracy = found["emt_mnist", "accuracy"]
    assert (accuracy.metric_value, accuracy.dataset_type, accuracy.dataset_split) == (66.6667, "ylecun/mnist", "test")
    assert accuracy.metric_args == {
        "n": 9,
        "unscored": 1,
        "interval": "Wilson score",
        "confidence_interval": pytest.approx([35.42, 87.94], abs=0.01),
        "confidence_level": 0.95,
    }
    name, again = model_index_to_eval_results(eval_results_to_model_index("name", results))
    assert (name, again) == ("name", results)
    assert len(results) == 2 * 4
    assert "66.7 (35.4 to 87.9)" in card.text


@pytest.fixture
def record(summary: RunSummary, tmp_path: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """What every-eval-ever gets: the folder, the aggregate and the samples."""
    out = tmp_path / "eee"
    aggregate, samples = export(summary, "every-eval-ever", out, SETTINGS)
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return out, json.loads(aggregate.read_text(encoding="utf-8")), rows


def test_every_eval_ever(record: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    out, aggregate, samples = record
    results = {entry["evaluation_result_id"]: entry for entry in aggregate["evaluation_results"]}
    accuracy = results["emt_mnist/accuracy"]["score_details"]
    assert accuracy["score"] == 66.6667
    assert accuracy["uncertainty"]["num_samples"] == 9
    assert accuracy["uncertainty"]["confidence_interval"]["lower"] == pytest.approx(35.42, abs=0.01)
    assert results["emt_mnist/accuracy"]["source_data"]["hf_repo"] == "ylecun/mnist"
    assert results["imagewikiqa/accuracy"]["source_data"]["source_type"] == "other"
    # Nine scored samples and two: the unscored ones are neither right nor wrong, and left out.
    assert aggregate["detailed_evaluation_results"]["total_rows"] == len(samples) == 11
    assert [row["evaluation"]["is_correct"] for row in samples[:9]] == [True] * 6 + [False] * 3
    assert samples[0]["output"]["raw"] == [HOSTILE]
    assert samples[9]["input"]["choices"] == ["one", "two"]
    assert {row["evaluation_id"] for row in samples} == {aggregate["evaluation_id"]}
    path = out / aggregate["detailed_evaluation_results"]["file_path"]
    assert len(path.read_bytes().splitlines()) == 11


def test_every_eval_ever_by_its_validator(record: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    python = _python_with_every_eval_ever()
    command = [python, "-m", "every_eval_ever", "validate", "--format", "json", "data/*/*/*/*.json*"]
    done = subprocess.run(command, cwd=record[0], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _python_with_every_eval_ever() -> str:
    """This Python, or $EVERY_EVAL_EVER_PYTHON: the package needs huggingface_hub < 2, and so a place of its own."""
    for python in (sys.executable, os.environ.get("EVERY_EVAL_EVER_PYTHON")):
        if (
            python
            and not subprocess.run([python, "-c", "import every_eval_ever.validator"], capture_output=True).returncode
        ):
            return python
    pytest.skip("needs every-eval-ever (Python 3.12): name a Python that has it in $EVERY_EVAL_EVER_PYTHON")


def test_every_eval_ever_by_its_schemas(record: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    folder = os.environ.get("EVERY_EVAL_EVER_SCHEMAS")
    if not folder:
        pytest.skip("needs every-eval-ever's folder of schemas in $EVERY_EVAL_EVER_SCHEMAS")
    _, aggregate, samples = record
    for name, values in (("eval", [aggregate]), ("instance_level_eval", samples)):
        schema = json.loads((Path(folder) / f"{name}.schema.json").read_text(encoding="utf-8"))
        for value in values:
            jsonschema.Draft7Validator(schema).validate(value)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_run_gives_the_same_files_and_none_is_overwritten(
    summary: RunSummary, tmp_path: Path, name: str
) -> None:
    first = export(summary, name, tmp_path / "1", SETTINGS)
    second = export(summary, name, tmp_path / "2", SETTINGS)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    with pytest.raises(UserError, match="already exists"):
        export(summary, name, tmp_path / "1", SETTINGS)
    assert export(summary, name, tmp_path / "1", SETTINGS, overwrite=True) == first
    left = {path for path in (tmp_path / "1").rglob("*") if path.is_file()}
    assert left == set(first)


def test_names_and_dates_from_the_run(tmp_path: Path) -> None:
    from leaderboards.exports.settings import date, model_id

    run = read_run(write_run(tmp_path, {"t": [judged_sample(0, "correct")]}, name="odd name%"))
    config = run.results["config"]
    assert model_id(run, ExportSettings()) == "local/odd-name"
    config["model_args"] = "pretrained=llava-hf/llava-1.5-7b-hf,dtype=float16"
    assert model_id(run, ExportSettings()) == "llava-hf/llava-1.5-7b-hf"
    assert date(run) == "2026-01-01"
    # lmms-eval's zone by default; 12:00 in Singapore is 04:00 UTC.
    config["resolved_cli_args"] = {"timezone": "Asia/Singapore"}
    assert date(run) == "2026-01-01T04:00:00Z"


def test_an_unknown_format_names_those_that_exist(summary: RunSummary, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--to xml: unknown format; choose one of hf-eval-results, model-index"):
        export(summary, "xml", tmp_path, SETTINGS)
