"""`emt diagnose` and `emt probe`: what they run, what they use again, what they write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.files import dump_row
from emt_core.measured import HEADER
from emt_tasks.commands.app import main
from emt_tasks.commands.evaluations import (
    PROBES,
    SETTINGS_FILE,
    _model_of,
    candidate_settings,
    probe_arguments,
    probed,
    what_decides,
)
from emt_tasks.tasks.evaluator import EvaluationSettings
from tests.support.synthetic_runs import judged_sample, write_run

BASE = EvaluationSettings("models/base", ("task",), batch_size=16)


def known(label: str, likeliest: str) -> dict:
    rank = 1 if label == likeliest else 2
    return {"label": {"top": [[likeliest, 0.8], ["other", 0.2]], "rank": rank, "right": label}}


def leave(folder: Path, settings: EvaluationSettings, wrong: int, likeliest_wrong: int) -> None:
    """Leave what a finished run and its probes are: the first documents answered wrong, some by the closed set too."""
    labels = ["cat", "dog", "frog", "ship"]
    samples = [
        judged_sample(doc, "incorrect" if doc < wrong else "correct", target=labels[doc % 4]) for doc in range(100)
    ]
    write_run(folder, {"task": samples})
    (folder / PROBES).mkdir()
    for place in (folder, folder / PROBES):
        (place / SETTINGS_FILE).write_text(json.dumps(what_decides(settings)))
    header = {"tower": "one", "tasks": {"task": {"documents": 100, "closed_sets": {"label": 4.0}, "probe": None}}}
    (folder / PROBES / HEADER).write_text(json.dumps(header))
    rows = (
        {"doc_id": doc, "closed_sets": known(labels[doc % 4], labels[(doc + (doc < likeliest_wrong)) % 4])}
        for doc in range(100)
    )
    (folder / PROBES / "probe_task.jsonl").write_bytes(b"".join(map(dump_row, rows)))


@pytest.fixture
def finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = EvaluationSettings("models/base", ("task",))
    leave(tmp_path / "out" / "base", settings, 0, 0)
    leave(tmp_path / "out" / "candidate", replace(settings, model="models/tuned"), 40, 10)
    return ["diagnose", "models/base", "models/tuned", "--tasks", "task", "-o", "out"]


def test_what_is_there_is_used_and_each_lost_answer_gets_its_cause(finished, tmp_path, capsys):
    assert main(finished) == 0
    said = capsys.readouterr().out
    assert "task: 40.0 points lost; 30.0 of them are format" in said
    assert "regains 75.0 %" in said and "A guess among the choices would regain 25.0 %." in said
    rows = [json.loads(line) for line in (tmp_path / "out" / "lost.jsonl").read_text().splitlines()]
    assert [row["cause"] for row in rows] == ["mouth"] * 10 + ["format"] * 30
    page = (tmp_path / "out" / "report.html").read_text()
    assert "of them are format" in page
    assert page.count('"cause":"format"') == 30 and page.count('"cause":"mouth"') == 10


def test_json_lines_for_a_program(finished, capsys):
    assert main([*finished, "--json"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["lost"], row["closed_set"], row["recoverable"]["estimate"]) == (40, "label", 75)


def test_a_report_of_another_s_is_not_replaced(tmp_path, capsys):
    (tmp_path / "report.html").write_text("mine")
    assert main(["diagnose", "a", "b", "-o", str(tmp_path)]) == 2
    assert "was not written by emt diagnose" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_probes_of_other_settings_are_never_mixed_in(finished, tmp_path, capsys):
    assert main([*finished, "--limit", "5"]) == 2
    assert "limit is None there, 5 here" in capsys.readouterr().err


def test_a_probe_is_a_command_of_emt(tmp_path):
    settings = replace(BASE, peft="adapter", judge="exact", limit=7, cache=tmp_path)
    assert probe_arguments(settings, tmp_path) == [
        *("probe", "models/base", "--tasks", "task", "--peft", "adapter", "--batch-size", "16", "--limit", "7"),
        *("--output", str(tmp_path)),
    ]


def test_a_run_names_the_model_that_is_measured(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", {"task": [judged_sample(0, "correct")]})
    (file,) = run.glob("*_results.json")
    results = json.loads(file.read_text())
    results["config"] = {"model_args": "pretrained=models/base,peft=adapter,dtype=bfloat16"}
    file.write_text(json.dumps(results))
    commands = []
    monkeypatch.setattr("emt_tasks.commands.evaluations._run", lambda command: commands.append(command))
    with pytest.raises(UserError, match="emt probe"):  # nothing was measured: the command was only noted
        probed("base", replace(BASE, model=str(run)), tmp_path / "out")
    (command,) = commands
    assert command[3:5] == ["probe", "models/base"]
    assert command[command.index("--peft") + 1] == "adapter"
    assert command[command.index("--model-args") + 1] == "dtype=bfloat16"


def test_a_run_that_names_no_model_is_refused(tmp_path):
    run = write_run(tmp_path / "run", {"task": [judged_sample(0, "correct")]})
    (file,) = run.glob("*_results.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"config": {}}))
    with pytest.raises(UserError, match="does not say which model"):
        probed("base", replace(BASE, model=str(run)), tmp_path / "out")


def test_two_runs_are_diagnosed_on_the_tasks_that_they_share(finished, capsys):
    """Not on the default ones, of which they know nothing; what each of the two was measured on is there."""
    folder = Path("out")
    for role in ("base", "candidate"):
        (folder / role / "model").rename(f"{role}-run")
    runs = ["diagnose", "base-run", "candidate-run", "-o", "again"]
    for role in ("base", "candidate"):
        settings = EvaluationSettings(f"{role}-run", ("task",))
        place = Path("again") / role / PROBES
        place.mkdir(parents=True)
        for file in (folder / role / PROBES).iterdir():
            if file.name != SETTINGS_FILE:
                (place / file.name).write_bytes(file.read_bytes())
        (place / SETTINGS_FILE).write_text(json.dumps(what_decides(_model_of(Path(f"{role}-run"), settings))))
    assert main(runs) == 0
    assert "task: 40.0 points lost" in capsys.readouterr().out


def test_an_unfinished_measurement_does_not_block_its_folder(finished, tmp_path, monkeypatch):
    folder = tmp_path / "out" / "base" / PROBES
    (folder / HEADER).unlink()
    commands = []
    monkeypatch.setattr("emt_tasks.commands.evaluations._run", lambda command: commands.append(command))
    with pytest.raises(UserError, match="emt probe"):
        probed("base", EvaluationSettings("models/base", ("task",), limit=5), tmp_path / "out")
    assert commands


def test_a_user_s_own_rows_are_not_replaced(tmp_path):
    from emt_core.measured import check_output
    from emt_tasks.diagnosis.measure import _written_before

    (tmp_path / "probe_prompts.jsonl").write_text("mine")
    assert _written_before(tmp_path) == ()
    check_output(tmp_path, overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; expected a folder"):
        check_output(tmp_path / "file", overwrite=False)


def test_another_s_list_of_lost_answers_is_not_replaced(tmp_path, capsys):
    (tmp_path / "lost.jsonl").write_text("mine")
    assert main(["diagnose", "a", "b", "-o", str(tmp_path)]) == 2
    assert "lost.jsonl was not written by emt diagnose" in capsys.readouterr().err


def test_a_run_of_another_kind_of_model_is_refused(tmp_path):
    run = write_run(tmp_path / "run", {"task": [judged_sample(0, "correct")]})
    (file,) = run.glob("*_results.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"config": {"model": "llava_hf"}}))
    with pytest.raises(UserError, match="this run is of llava_hf"):
        probed("base", replace(BASE, model=str(run)), tmp_path / "out")


def test_an_adapter_as_the_base_stays_on_its_own(tmp_path):
    adapters = [tmp_path / name for name in ("one", "two")]
    for adapter in adapters:
        adapter.mkdir()
        (adapter / "adapter_config.json").touch()
    on_a_model = candidate_settings(str(adapters[1]), "models/base", BASE)
    assert (on_a_model.model, on_a_model.peft) == ("models/base", str(adapters[1]))
    on_its_own = candidate_settings(str(adapters[1]), str(adapters[0]), BASE)
    assert (on_its_own.model, on_its_own.peft) == (str(adapters[1]), None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model-kind", "emt_clip"], "only a whole model has places to measure"),
        ([], "already has a measured model"),
    ],
)
def test_what_would_stop_a_measurement_stops_the_evaluation(arguments, reason, finished, capsys):
    command = ["eval", "models/base", "--tasks", "emt_mnist", "-o", "run", "--probe", f"out/base/{PROBES}"]
    assert main([*command, *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_without_a_diagnosis_the_verdict_stands(finished, tmp_path, capsys):
    """The measurement fails; the check still gates and reports, and says why there is no diagnosis."""
    (tmp_path / "out" / "base" / PROBES / "probe_task.jsonl").write_text("{")
    check = ["check", "--base", "models/base", "--candidate", "models/tuned", "--tasks", "task", "-o", "out"]
    assert main([*check, "--diagnose"]) == 1
    said = capsys.readouterr()
    assert "--diagnose: " in said.err and "the last line is cut off" in said.err
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_through_the_real_command(tmp_path):
    command = [sys.executable, "-m", "emt_tasks", "diagnose", "emt:tiny", "emt:tiny"]
    command += ["--tasks", "demo_shapes,demo_digits_qa,demo_shapes_qa", "--limit", "60", "-o", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["task"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["closed_set"] for name, row in rows.items()} == {
        "demo_shapes": "label",
        "demo_digits_qa": "letter",
        "demo_shapes_qa": None,
    }
    assert all(row["lost"] == row["gained"] == 0 for row in rows.values())
    rows_file = tmp_path / "out" / "base" / "probes" / "probe_demo_shapes.jsonl"
    measured = [json.loads(line) for line in rows_file.read_text().splitlines()]
    assert len(measured) == 60 and set(measured[0]["probes"]) == {"tower", "projector", "answer"}
