"""`emt gate` from outside: exit codes, table, JSON, JUnit, mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from emt_tasks.commands.app import main
from tests.support.synthetic_runs import STAMP, judged_sample, write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str, str]:
    """A base, a candidate that kept everything, and one that lost a tenth of one task."""
    paths = []
    for name, lost in (("base", 0), ("kept", 2), ("forgetful", 100)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct", labels=["dog" if i < lost else "cat"])
                for i in range(1000)]  # fmt: skip
        other = [judged_sample(i, "correct", target="<&>", prompt="?") for i in range(1000)]
        paths.append(str(write_run(tmp_path, {"flowers102": rows, "weird <task>&": other}, name=name)))
    return paths[0], paths[1], paths[2]


def test_exit_codes_and_table(runs: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    base, kept, forgetful = runs
    assert main(["gate", base, kept]) == 0
    printed = capsys.readouterr().out
    assert "PASS: kept is not inferior to base on any of 2 tasks and quadrants." in printed
    assert "flowers102" in printed
    assert main(["gate", base, forgetful]) == 1
    printed = capsys.readouterr().out
    assert "10.0 [8.5, 11.7]" in printed
    assert "FAIL: forgetful forgot more than is allowed on flowers102." in printed
    assert main(["gate", base, kept, "--margin", "0.1"]) == 2
    printed = capsys.readouterr().out
    assert "UNDECIDED" in printed
    assert "documents would decide" in printed


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 110, 200])
def test_the_table_fits_any_terminal(
    runs: tuple[str, str, str], columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["gate", runs[0], runs[2]]) == 1
    table = capsys.readouterr().out.split("forgetting:")[0]
    assert max(len(line) for line in table.splitlines()) <= columns


def test_json_holds_every_number_with_its_interval(
    runs: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", runs[0], runs[2], "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["verdict"], data["exit_code"], data["candidate"]["name"]) == ("forgetting", 1, "forgetful")
    task = data["tasks"][0]
    assert task["task"] == "flowers102"
    assert task["forgetting"]["estimate"] == 10.0
    assert task["forgetting"]["n"] == 1000
    assert task["flips"] == {"lost": 100, "gained": 0, "lost_to": {"incorrect": 100}, "gained_from": {}}
    assert task["encoder"] is None
    assert task["worst_classes"][0]["name"] == "cat"
    assert data["quadrants"][0]["name"] == "idt_oodi"


def test_junit_is_well_formed_and_not_overwritten(
    runs: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "gate.xml"
    arguments = ["gate", runs[0], runs[2], "--margin", "0.6", "--junit", str(report)]
    assert main(arguments) == 1
    suite = ElementTree.parse(report).getroot()[0]
    assert suite.get("name") == "emt gate: forgetful"
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "1", "0", "0"]
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {"flowers102": ["failure"], "weird <task>&": ["system-out"]}
    capsys.readouterr()
    assert main(arguments) == 2
    assert "gate.xml already exists: choose another file or add --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 1


def test_the_same_runs_give_the_same_bytes(runs: tuple[str, str, str], tmp_path: Path) -> None:
    outputs = set()
    for threads in ("1", "2", "2"):
        command = [sys.executable, "-m", "emt_tasks.commands.app", "gate", runs[0], runs[2], "--json"]
        environment = os.environ | {"POLARS_MAX_THREADS": threads, "PYTHONHASHSEED": "random"}
        outputs.add(subprocess.run(command, capture_output=True, env=environment, check=False, cwd=tmp_path).stdout)
    assert len(outputs) == 1
    assert json.loads(outputs.pop())["exit_code"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--margin", "2", "--policy", "p.yaml"], "--margin and --policy exclude each other"),
        (["--margin", "-1"], "--margin -1: expected a number from 0 on, or less than 100 %, such as 5%"),
        (["--metric", "flowers102"], "--metric flowers102: expected TASK=NAME"),
        (["--tasks", "ocr_vqa"], "task ocr_vqa is not in both runs; they share flowers102"),
        (["--tasks", ","], "--tasks ',': expected names of tasks, separated by commas"),
        (["--junit", "pyproject.toml/x/gate.xml"], "pyproject.toml/x: cannot be written: Not a directory"),
        (["--encoder", "nowhere"], "nowhere does not exist"),
        (["--matrix", "nowhere.yaml"], "nowhere.yaml cannot be read as YAML"),
    ],
)
def test_mistakes_are_one_line(
    runs: tuple[str, str, str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", runs[0], runs[1], *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_broken_input_from_outside(runs: tuple[str, str, str]) -> None:
    samples = Path(runs[1]) / f"{STAMP}_samples_flowers102.jsonl"
    samples.write_bytes(samples.read_bytes()[:-30])
    command = [sys.executable, "-m", "emt_tasks.commands.app", "gate", runs[0], runs[1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"emt: {samples}:1000: the last line is cut off; write the file again\n"
