"""Gates, traces and the report in real trackers that write to this disk, by the real command."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.exports.trackers import LOGGERS, choose, page_of
from leaderboards.gate.decide import decide
from leaderboards.report.candidates import parse_candidates
from tests.support.synthetic_runs import judged_sample, write_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A base, and two checkpoints of one recipe: the first lost 2 of 400 answers, the second 100."""
    folder = tmp_path_factory.mktemp("runs")
    for name, lost in (("base", 0), ("lora/step-10", 2), ("lora/step-20", 100)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(400)]
        write_run(folder / name, {"flowers102": rows, "odd <task>": rows}, name=name.replace("/", "-"))
    return folder


def report(runs: Path, folder: Path, logger: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emt_tasks", "report", "base", "lora/step-10", "lora/step-20"]
    command += ["-o", str(folder / "report.html"), "--log", f"{logger}:forgetting"]
    there = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment}
    done = subprocess.run(command, cwd=runs, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "not logged" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done


def needs(logger: str) -> None:
    if importlib.util.find_spec(logger) is None:
        pytest.skip(f"needs {logger}: pip install 'emt-eval[{logger}]'")


@pytest.mark.slow  # trackers take long to import
def test_mlflow(runs, tmp_path):
    needs("mlflow")
    store = tmp_path / "mlruns"
    report(runs, tmp_path, "mlflow", MLFLOW_TRACKING_URI=store.as_uri(), MLFLOW_ALLOW_FILE_STORE="true")
    (run,) = (path.parent for path in store.glob("*/*/params"))
    lines = (run / "metrics" / "forgetting" / "flowers102").read_text().splitlines()
    # Each line: time, value, step. 2 and 100 of 400 are 0.5 and 25 points.
    assert [(float(value), step) for _, value, step in map(str.split, lines)] == [(0.5, "10"), (25.0, "20")]
    assert (run / "metrics" / "forgetting" / "odd _task_").is_file()
    assert (run / "tags" / "verdict").read_text() == "forgetting"
    artifacts = run / "artifacts"
    assert sorted(path.name for path in artifacts.iterdir()) == [
        *("forgetting", "gate.json", "report.html", "summary.md"),
    ]
    pictures = {path.name: path.read_text() for path in (artifacts / "forgetting").iterdir()}
    assert set(pictures) == {"lora_step-10.svg", "lora_step-20.svg"}
    assert "25.0 (" in pictures["lora_step-20.svg"]
    rows = json.loads((artifacts / "gate.json").read_text())["rows"]
    assert [(row["checkpoint"], row["verdict"]) for row in rows if row["name"] == "flowers102"] == [
        ("lora step-10", "not inferior"),
        ("lora step-20", "forgetting"),
    ]


@pytest.mark.slow  # trackers take long to import
def test_wandb(runs, tmp_path):
    needs("wandb")
    report(runs, tmp_path, "wandb", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_SILENT="true")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    records = list(read_wandb(file))
    (run,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("forgetting", "lora")
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert {row["_step"]: row["forgetting/flowers102"] for row in history} == {10: 0.5, 20: 25.0}
    media = {path.parent.name: path for path in file.parent.rglob("media/*/*")}
    assert set(media) == {"html", "table"}
    assert sum("What" in page.read_text() for page in file.parent.rglob("media/html/*")) == 1
    assert sum(page.read_text().lstrip().startswith("<svg") for page in file.parent.rglob("media/html/*")) == 2
    assert len(json.loads(media["table"].read_text())["data"]) == 4


def read_wandb(file: Path) -> Any:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(str(file))
    try:
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record
    finally:
        store.close()


@pytest.mark.slow  # trackers take long to import
def test_trackio(runs, tmp_path):
    needs("trackio")
    report(runs, tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    with sqlite3.connect(tmp_path / "trackio" / "forgetting.db") as database:
        logged = database.execute("select step, metrics from metrics order by id").fetchall()
    found = [(step, json.loads(metrics)) for step, metrics in logged]
    assert [(step, row["forgetting/flowers102"]) for step, row in found if "forgetting/flowers102" in row] == [
        (10, 0.5),
        (20, 25.0),
    ]
    assert any("FAIL" in json.dumps(row.get("summary")) for _, row in found)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tensorboard", "--log tensorboard: expected wandb, mlflow, trackio, or one of them with :PROJECT"),
        ("wandb", "--log wandb: the package is not installed; run: pip install 'emt-eval[wandb]'"),
    ],
)
def test_what_cannot_be_logged_to_is_told_before_anything_runs(wanted, message, monkeypatch):
    monkeypatch.setattr("leaderboards.exports.trackers.find_spec", lambda _name: None)
    with pytest.raises(UserError) as error:
        choose([wanted])
    assert str(error.value) == message


def test_each_checkpoint_has_its_step_and_each_number_its_name(runs):
    candidates = parse_candidates([str(runs / "lora" / "step-20"), str(runs / "lora" / "step-10")])
    results = [decide(compare(read_run(runs / "base"), read_run(one.path))) for one in candidates]
    page = page_of("lora", list(zip(candidates, results, strict=True)), None)
    assert [step for step, _ in page.steps] == [10, 20]
    assert dict(page.steps[1][1])["forgetting/flowers102"] == 25.0
    assert dict(page.steps[1][1])["base accuracy/flowers102"] == 100.0
    assert page.verdicts == {"lora step-10": "not inferior", "lora step-20": "forgetting"}
    assert page.config["base"] == "base"
    assert "FAIL" in page.summary


def test_each_logger_has_an_extra():
    text = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{logger} = [" in text for logger in LOGGERS)


@pytest.mark.slow  # trackers take long to import
def test_a_tracker_that_fails_leaves_the_verdict(runs, tmp_path):
    needs("mlflow")
    command = [sys.executable, "-m", "emt_tasks", "gate", "base", "lora/step-20", "--json", "--log", "mlflow"]
    there = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"file:{runs / 'base'}"}
    there.pop("MLFLOW_ALLOW_FILE_STORE", None)
    done = subprocess.run(command, cwd=runs, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "forgetting"
    assert done.stderr.splitlines()[-1].startswith("--log mlflow: not logged: MlflowException: ")
