"""The GitHub Action and the GitLab template: their steps, run as the runners run them, and what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.synthetic_runs import judged_sample, write_run

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB = yaml.safe_load((ROOT / ".gitlab" / "emt-gate.yml").read_text())[".emt-gate"]
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
HOSTILE = "x'; touch stolen; $(touch stolen) `touch stolen` \" ::set-output name=a::b"


@pytest.fixture
def runs(tmp_path) -> Path:
    """A base, a candidate that lost nothing, and one that lost 100 of 400 answers of one task, in a repository."""
    for name, lost in (("base", 0), ("kept", 0), ("forgetful", 100), (HOSTILE.replace("/", ""), 0)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(400)]
        other = [judged_sample(i, "correct") for i in range(400)]
        write_run(tmp_path / "runs" / name, {"flowers102": rows, "ocr_vqa": other}, name=re.sub(r"\W+", "-", name))
    return tmp_path


@dataclass
class Done:
    """What a step left: its exit code, its log, the job's summary and the step's outputs."""

    code: int
    log: str
    summary: str
    outputs: dict[str, str]


def filled(text: str, inputs: dict[str, str]) -> str:
    """Fill in the expressions that the action uses; any other fails."""
    found = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: inputs[match[1]], text)
    found = found.replace("${{ github.action_path }}", str(ROOT))
    assert "${{" not in found, text
    return found


def act(folder: Path, step: dict[str, Any], **given: str) -> Done:
    """Run a step of the action as GitHub's runner does, in the repository."""
    inputs = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()} | given
    files = {name: folder / name for name in ("summary.md", "outputs.txt")}
    for file in files.values():
        file.touch()
    environment = {
        **environment_of(folder),
        **{name: filled(str(value), inputs) for name, value in step.get("env", {}).items()},
        "GITHUB_STEP_SUMMARY": str(files["summary.md"]),
        "GITHUB_OUTPUT": str(files["outputs.txt"]),
    }
    script = folder / "step.sh"
    script.write_text(step["run"])
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    outputs = dict(line.split("=", 1) for line in files["outputs.txt"].read_text().splitlines())
    return Done(done.returncode, done.stdout + done.stderr, files["summary.md"].read_text(), outputs)


def environment_of(folder: Path) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("EMT_")}
    return found | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def step(name: str) -> dict[str, Any]:
    return next(one for one in STEPS if one["name"] == name)


def test_a_candidate_that_forgot_fails_the_job_with_annotations_and_a_summary(runs):
    (runs / "gate.yaml").write_text("margin: 5\n")
    done = act(runs, step("gate"), base="runs/base", candidate="runs/forgetful", policy="gate.yaml")
    assert done.code == 1, done.log
    assert done.outputs == {"verdict": "forgetting", "exit-code": "1", "report": "emt-check/report.html"}
    commands = [line for line in done.log.splitlines() if line.startswith("::")]
    # 100 of 400 answers are 25 points.
    assert [command.partition(" [")[0] for command in commands] == [
        "::error title=emt gate%3A forgetful::FAIL: forgetful forgot more than is allowed on flowers102.",
        "::error title=forgetful%3A flowers102::forgetting 25.0",
    ]
    assert "## ❌ FORGETTING: forgetful" in done.summary
    assert re.search(
        r"^\| flowers102 \| ❌ \*\*FORGETTING\*\* \| 25\.0.* \| 5 \| 100\.0 \| 75\.0 \| 100 \| 0 \| 400",
        done.summary.replace("\N{NO-BREAK SPACE}", " "),
        re.M,
    )
    assert re.search(r"^✗ flowers102 +25\.0 \(.*┊.*━●━", done.summary, re.MULTILINE)
    assert (runs / "emt-check" / "report.html").is_file()
    assert ElementTree.parse(runs / "emt-check" / "gate.xml").getroot().get("failures") == "1"


def test_a_candidate_that_kept_all_passes(runs):
    done = act(runs, step("gate"), base="runs/base", candidate="runs/kept", arguments="--tasks ocr_vqa --margin 5")
    assert (done.code, done.outputs["verdict"]) == (0, "pass"), done.log
    assert "::notice title=emt gate%3A kept::PASS: kept is not inferior" in done.log
    assert "✅ pass: kept" in done.summary


def test_input_that_is_broken_is_no_verdict(runs):
    done = act(runs, step("gate"), base="runs/base", candidate="runs/kept", policy="nowhere.yaml")
    assert (done.code, done.outputs["verdict"]) == (2, "error"), done.log
    assert "::error title=emt gate::no verdict, emt check exited with 2" in done.log
    assert "no verdict" in done.summary


def test_names_run_no_commands(runs):
    done = act(runs, step("gate"), base="runs/base", candidate=f"runs/{HOSTILE}", policy=HOSTILE)
    assert done.code == 2
    done = act(runs, step("gate"), base="runs/base", candidate=f"runs/{HOSTILE}")
    assert (done.code, done.outputs["verdict"]) == (0, "pass"), done.log
    assert not list(runs.rglob("stolen"))
    assert not [line for line in done.log.splitlines() if line.startswith("::set-output")]


@pytest.mark.parametrize("one", STEPS, ids=lambda one: one["name"])
def test_no_expression_is_in_a_script(one):
    assert "${{" not in one.get("run", "")
    assert ("shell" in one) == ("run" in one)


def test_the_install_step_installs_this_package(tmp_path):
    """pip only resolves: the test is what it would be asked to install."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > asked.txt\n')
    (fake / "python").chmod(0o755)
    script = step("install")["run"]
    environment = {"PATH": f"{fake}:{os.environ['PATH']}", "ACTION": str(ROOT)}
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
    asked = (tmp_path / "asked.txt").read_text().splitlines()
    assert asked == ["-m", "pip", "install", "--quiet", "--constraint", f"{ROOT}/constraints.txt", str(ROOT)]
    assert (ROOT / "constraints.txt").is_file()


def test_every_input_is_used_and_every_used_one_declared():
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])


@pytest.mark.parametrize(("candidate", "code"), [("kept", 0), ("forgetful", 1)])
def test_the_gitlab_job(runs, candidate, code):
    variables = {name: str(value) for name, value in GITLAB["variables"].items()}
    variables |= {"EMT_BASE": "runs/base", "EMT_CANDIDATE": f"runs/{candidate}", "EMT_ARGUMENTS": "--margin 5"}
    script = "\n".join([*GITLAB["before_script"], *GITLAB["script"]])
    command = ["sh", "-e", "-c", script]  # images without bash have only that
    there = environment_of(runs) | variables
    done = subprocess.run(command, cwd=runs, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    for path in (*GITLAB["artifacts"]["paths"], GITLAB["artifacts"]["reports"]["junit"]):
        assert (runs / path).is_file(), path
