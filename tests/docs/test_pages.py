"""Every command in README and docs: parsed by the command that it names, and run where no model is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from emt_tasks.tasks.auto import AUTO
from tests.support.pages import PAGES, ROOT, blocks, commands, emt_words, parse, words

NEED_NO_MODEL = (
    "tasks",
    "data list",
    "data prepare birds",
    "data check --train birds",
    "audit sample",
    "audit label audit.jsonl --judge",
    "gate",
    "report",
    "export",
    "publish runs/tuned --base runs/base --to my-org/forgetting",
    "leaderboard",
    "judge",
    "doctor --quick",
)
WRITTEN = "rescue/retrain.yaml"
"""A recipe that the command before it on the page writes."""

OWN_TASKS = {"birds", "birds_qa", "parts", "parts_questions", "mmmu_val", "MMStar", "POPE"}
EMT = [(page, command) for page in PAGES for command in commands(page) if emt_words(command) is not None]
OTHERS = [(page, command) for page in PAGES for command in commands(page) if emt_words(command) is None]


def name(value):
    return value.name if isinstance(value, Path) else value.split("\n")[0][:80]


@pytest.mark.parametrize(("page", "command"), EMT, ids=name)
def test_a_command_has_the_arguments_that_it_is_given(page, command, tmp_path, monkeypatch):
    path, given = parse(emt_words(command))
    tasks = given.get("tasks")
    if isinstance(tasks, str):
        from emt_tasks.tasks import registry

        assert set(tasks.split(",")) <= {*registry.entries(), *OWN_TASKS, AUTO}
    if path == "emt finetune" and given["advise"]:
        from finetune.advice.look import request

        request([given["recipe"], *(given["overrides"] or ())])
    elif path == "emt finetune" and given["recipe"] not in {*printed_to(page), WRITTEN}:
        from finetune.recipes.files import read

        write_files(page, tmp_path)
        monkeypatch.chdir(tmp_path)
        read(given["recipe"], given["overrides"] or ())
    if "policy" in given:
        write_files(page, tmp_path)
        assert given["policy"] is None or (tmp_path / given["policy"]).is_file(), "the page does not show this file"


@pytest.mark.parametrize(("page", "command"), OTHERS, ids=name)
def test_other_programs_are_there(page, command):
    _, parts = words(command)
    if parts[0] == "make":
        targets = [line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line]
        assert parts[1] in targets
    elif parts[0] == "lmms-eval":
        assert Path(sys.executable).with_name("lmms-eval").is_file()  # its arguments: the slow test below
    else:
        assert parts[0] in ("export", "cat", "ls", "pip", "mkdocs"), command


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_needs_no_model_runs(page, tmp_path, world, monkeypatch, capsys):
    from emt_tasks.commands import app as cli

    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    write_files(page, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EMT_INCLUDE", "")
    monkeypatch.setattr("emt_tasks.commands.gate.SECONDS", 1.0)  # plans simulate for as long as they are given
    for setting in ("EMT_DATA_DIR", "EMT_JUDGE", "EMT_JUDGE_MODEL", "EMT_JUDGE_BASE_URL"):
        monkeypatch.delenv(setting, raising=False)
    for command in commands(page):
        arguments = emt_words(command)
        if arguments is None and words(command)[1][0] in ("cat", "ls"):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            subprocess.run(["bash", "-euc", command], env={**os.environ, "PATH": path}, check=True, capture_output=True)
        elif arguments is not None and "--log" in arguments:
            continue  # to a tracker: tests/leaderboards/exports/test_trackers.py
        elif arguments is not None and " ".join(arguments).startswith(NEED_NO_MODEL):
            code = cli.main(arguments)
            told = capsys.readouterr()
            assert "emt: " not in told.err, (command, told.err)
            verdicts = arguments[0] in ("gate", "doctor") or arguments[:2] == ["data", "list"]
            assert code in ((0, 1, 2) if verdicts else (0,)), (command, told.err)


def printed_to(page: Path) -> set[str]:
    """The files that the page's commands print to."""
    return {command.partition(" > ")[2].split()[0] for command in commands(page) if " > " in command}


def write_files(page: Path, folder: Path) -> None:
    """Write the files that the page shows."""
    for block in blocks(page):
        if block.title:
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.body)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The runs that the pages speak of, written without a model."""
    from tests.support.synthetic_runs import large_pair

    folder = tmp_path_factory.mktemp("pages")
    emt = [f"emt_{data}_lite" for data in ("mnist", "cifar10", "cifar100", "miniimagenet")]
    matrix = ["imagenet_vqa", "flowers102", "imagewikiqa", "ocr_vqa"]
    mine = [*(f"{task}_lite" for task in matrix), *sorted(OWN_TASKS), *matrix]
    demo = ["demo_digits", "demo_shapes", "demo_digits_qa", "demo_shapes_qa"]
    evaluations = "runs/emt/7b-linear-cifar10/evaluations"
    advised = "runs/advised/demo_digits/evaluations"
    for number, (base, candidate, tasks) in enumerate(
        (
            ("runs/base", "runs/tuned", mine),
            (f"{evaluations}/step-000000", f"{evaluations}/step-000391", emt),
            ("runs/emt/encoder", "runs/emt/unused", emt),
            ("runs/encoder", "runs/unused", mine),
            ("emt-demo/base", "emt-demo/full_low/evaluations/step-000132", demo),
            (f"{advised}/step-000000", f"{advised}/step-000188", demo),
        )
    ):
        scratch = tmp_path_factory.mktemp(f"runs{number}")
        written = large_pair(scratch / "base", scratch / "tuned", samples=600 * len(tasks), tasks=tasks)
        for run, wanted in zip(written, (folder / base, folder / candidate), strict=True):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(run, wanted)
    shutil.copytree(folder / "emt-demo" / "full_low", folder / "emt-demo" / "full_high")
    shutil.copyfile(ROOT / "emt_tasks" / "demo" / "matrix.yaml", folder / "emt-demo" / "matrix.yaml")
    write_birds(folder)
    write_other_harnesses(folder)
    return folder


def write_other_harnesses(folder: Path) -> None:
    """The runs of docs/tutorials/other-harnesses.md: what the harnesses wrote, and two tables of grades."""
    for harness in ("lm_eval", "evalscope", "vlmevalkit"):
        for theirs, ours in (("base", "base"), ("cand", "tuned")):
            written = ROOT / "tests" / "emt_core" / "formats" / "data" / harness / theirs
            shutil.copytree(written, folder / harness.replace("_", "-") / ours)
    (folder / "scores").mkdir()
    for name, lost in (("base", 0), ("tuned", 1)):
        rows = "".join(
            f"q{i},{6 + i % 3 - lost * (i % 5 == 0)},{'charts' if i % 2 else 'photos'}\n" for i in range(400)
        )
        (folder / "scores" / f"{name}.csv").write_text(f"id,score,group\n{rows}", encoding="utf-8")


def write_birds(folder: Path) -> None:
    """The photos and questions of docs/tutorials/your-data.md, as few as there can be."""
    for number, (split, bird) in enumerate(
        [("test", "robin"), ("test", "crow"), ("train", "robin"), ("train", "crow")]
    ):
        photos = folder / "photos" / split / bird
        photos.mkdir(parents=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(photos / "1.jpg")
    (folder / "questions" / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8), (0, 90, 0)).save(folder / "questions" / "images" / "0001.jpg")


def test_the_ci_examples_use_what_the_action_and_the_template_take():
    page = ROOT / "docs" / "tutorials" / "ci.md"
    shown = {block.title: yaml.safe_load(block.body) for block in blocks(page) if block.kind == "yaml"}
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    given = shown[".github/workflows/forgetting.yml"]["jobs"]["gate"]["steps"][-1]["with"]
    assert set(given) <= set(action["inputs"])
    assert {name for name, about in action["inputs"].items() if about.get("required")} <= set(given)
    job = shown[".gitlab-ci.yml"]
    assert (ROOT / job["include"]["file"]).is_file()
    template = yaml.safe_load((ROOT / job["include"]["file"]).read_text())[job["forgetting"]["extends"]]
    assert set(job["forgetting"]["variables"]) <= set(template["variables"])


def test_reference_pages_are_up_to_date():
    # A process of its own: the pages show what a new process knows, with none of the data sets of other tests.
    command = [sys.executable, "-m", "tools.build_docs", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"run: python -m tools.build_docs\n{checked.stdout}{checked.stderr}"


def test_the_site_builds_without_warnings_and_asks_no_other_server(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        for attribute in ('src="http', "src='http", '<link rel="stylesheet" href="http'):
            assert attribute not in text, page


@pytest.mark.slow
def test_lmms_eval_takes_the_arguments_it_is_given(monkeypatch):
    """One import of lmms-eval for all of its commands."""
    from lmms_eval import __main__ as lmms_eval_main

    for _, command in OTHERS:
        parts = words(command)[1]
        if parts[0] == "lmms-eval":
            monkeypatch.setattr(sys, "argv", parts)
            _, parsed = lmms_eval_main.parse_eval_args()
            assert parsed.model == "emt_vlm"
            assert parsed.log_samples
