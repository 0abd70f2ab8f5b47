"""`emt check`: what it runs, what it uses again, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from emt_tasks.commands.check import _by_role
from emt_tasks.commands.evaluations import SETTINGS_FILE, evaluate_all, what_decides
from emt_tasks.commands.jobs import Job, Plan, read_plan, write_plan
from emt_tasks.commands.looks import Rules
from emt_tasks.commands.options import spread
from emt_tasks.tasks.evaluator import EvaluationSettings, is_adapter_alone
from tests.support.synthetic_runs import judged_sample, write_run

BASE = EvaluationSettings("models/base", ("emt_mnist",), batch_size=16, device="cpu")


def finish(folder, settings=BASE):
    """Leave what a finished evaluation leaves."""
    folder.mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text(json.dumps(what_decides(settings)))
    (folder / "20261122_120000_results.json").write_text("{}")


def test_all_that_is_missing_is_evaluated_by_one_process(tmp_path, monkeypatch):
    finish(tmp_path / "candidates" / "a")
    finish(tmp_path / "mine")
    wanted = {
        "base": BASE,
        "candidates/a": BASE,
        "candidates/b": replace(BASE, peft="adapter"),
        "candidates/c": replace(BASE, model=str(tmp_path / "mine")),
        "encoder": replace(BASE, model="ViT-L-14/openai", model_kind="emt_clip"),
    }
    plans = []

    def carry_out(command):
        assert command[1:-1] == ["-m", "accelerate.commands.launch", "--cpu", "-m", "emt_tasks", "evaluate-jobs"]
        plans.append(read_plan(Path(command[-1])))
        for job in plans[-1].jobs:
            (job.folder / "20261122_120000_results.json").write_text("{}")
        return 0

    monkeypatch.setattr("emt_tasks.commands.evaluations._run", carry_out)
    runs = evaluate_all(wanted, tmp_path, launch="--cpu")
    assert runs == {role: tmp_path / role for role in wanted} | {"candidates/c": tmp_path / "mine"}
    (plan,) = plans
    assert [job.title for job in plan.jobs] == [
        "[1/5] base: models/base",
        "[3/5] candidates/b: adapter",
        "[5/5] encoder: ViT-L-14/openai",
    ]
    for job, role in zip(plan.jobs, ("base", "candidates/b", "encoder"), strict=True):
        assert job.settings == replace(wanted[role], cache=tmp_path / role / "cache")
        assert job.probe is None
    assert not list(tmp_path.glob(".emt*"))
    assert evaluate_all(wanted, tmp_path) == runs  # all are finished: no process is started
    assert len(plans) == 1


def test_every_setting_reaches_the_evaluator(tmp_path, monkeypatch):
    from emt_tasks.commands import jobs
    from emt_tasks.tasks import several

    sent = EvaluationSettings(
        *("models/base", ("emt_mnist", "imagewikiqa"), "emt_vlm", "adapter", "auto", "cuda:1", 7, "exact"),
        *("dtype=float32", tmp_path),
    )
    write_plan(Plan([Job("one", sent, tmp_path / "run", tmp_path / "probe")]), tmp_path / "plan")
    received = []

    class Models:
        def __init__(self, wanted):
            received.append(wanted)

        def evaluate(self, settings, folder):
            received.append((settings, folder))

        def measure(self, settings, folder):
            received.append((settings, folder))
            raise UserError("it cannot be measured")  # told, and no more

        def done(self, settings):
            return None

    monkeypatch.setattr(several, "Models", Models)
    monkeypatch.setattr(jobs, "check", lambda names: None)
    assert main(["evaluate-jobs", str(tmp_path / "plan")]) == 0
    assert received == [[sent], (sent, tmp_path / "run"), (sent, tmp_path / "probe")]


def test_a_plan_with_rules_is_read_as_it_was_written(tmp_path):
    rules = Rules(400, {"margin": 2.0}, {"idt_idi": ("emt_mnist",)}, {"emt_mnist": "accuracy"}, ("judge",))
    plan = Plan([Job("one", BASE, tmp_path / "run")], rules, tmp_path / "base", [tmp_path / "a", tmp_path / "b"])
    write_plan(plan, tmp_path / "plan")
    read = read_plan(tmp_path / "plan")
    assert replace(read, rules=replace(read.rules, allow=tuple(read.rules.allow))) == plan


@pytest.mark.parametrize(
    ("words", "spread_out"),
    [
        ("--candidate a", "--candidate a"),
        ("--candidate a b --tasks t", "--candidate a --candidate b --tasks t"),
        ("--candidate a --tasks t --candidate b", "--candidate a --tasks t --candidate b"),
        ("--candidate=a b -o out", "--candidate=a --candidate b -o out"),
        ("--base x --candidate x=a y=b", "--base x --candidate x=a --candidate y=b"),
        ("--candidate a -- b", "--candidate a -- b"),
        ("--tasks t b --candidate a", "--tasks t b --candidate a"),
    ],
)
def test_an_option_takes_all_words_up_to_the_next(words, spread_out):
    assert spread(words.split(), "--candidate") == spread_out.split()


def test_a_word_behind_another_option_is_no_candidate(capsys):
    assert main(["check", "--base", "x", "--candidate", "a", "--diagnose", "b"]) == 2
    assert "b" in capsys.readouterr().err


def test_each_of_several_candidates_has_its_own_folder_whatever_the_others_are():
    assert _by_role(["runs/lora/checkpoint-100"]) == {"candidate": "runs/lora/checkpoint-100"}
    several = _by_role(["rank 8=runs/lora/checkpoint-100", "runs/full"])
    more = _by_role(["runs/full", "runs/other/full", "renamed=runs/lora/checkpoint-100"])
    assert list(several.values()) == ["runs/lora/checkpoint-100", "runs/full"]
    assert [role[:-6] for role in several] == ["candidates/lora-checkpoint-100-", "candidates/full-"]
    assert set(several) < set(more) and len(more) == 3
    with pytest.raises(UserError, match="--candidate runs/full: given twice"):
        _by_role(["runs/full", "again=runs/full"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--cap 400", "--cap 400: it is for a check that may end early; add --sequential"),
        ("--sequential --limit 5", "--limit and --sequential exclude each other"),
        ("--sequential --diagnose", "use emt diagnose afterwards"),
        ("--sequential --cap 4000 --tasks emt_mnist_lite,imagenet_vqa", "emt_mnist_lite have 2,000 documents at most"),
        ("-b some", "--batch-size some: expected a number of images, or auto"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_runs(words, told, tmp_path, capsys):
    command = ["check", "--base", "x", "--candidate", "y", "--tasks", "emt_mnist", "-o", str(tmp_path / "out")]
    assert main([*command, *words.split()]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_adapter_goes_on_its_own_base_or_on_the_one_given(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    assert is_adapter_alone(str(tmp_path))
    alone = replace(BASE, model=str(tmp_path)).arguments()
    assert alone[alone.index("--model_args") + 1] == f"peft={tmp_path}"
    on = replace(BASE, peft=str(tmp_path)).arguments()
    assert on[on.index("--model_args") + 1] == f"pretrained=models/base,peft={tmp_path}"


def test_a_finished_run_is_used_again_whatever_the_batch_and_the_device(tmp_path):
    finish(tmp_path / "base")
    assert evaluate_all({"base": replace(BASE, batch_size=1, device=None)}, tmp_path) == {"base": tmp_path / "base"}


def test_a_run_of_the_users_own_is_taken_as_it_is(tmp_path):
    finish(tmp_path / "mine")
    mine = tmp_path / "mine"
    assert evaluate_all({"base": replace(BASE, model=str(mine))}, tmp_path / "out") == {"base": mine}


def test_a_run_of_other_settings_is_never_mixed_in(tmp_path):
    finish(tmp_path / "base")
    with pytest.raises(UserError, match=r"limit is None there, 5 here\); choose another --output"):
        evaluate_all({"base": replace(BASE, limit=5)}, tmp_path)


def test_a_run_of_weights_that_were_trained_again_is_not_used(tmp_path):
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"before")
    settings = replace(BASE, model=str(weights.parent))
    finish(tmp_path / "base", settings)
    assert evaluate_all({"base": settings}, tmp_path) == {"base": tmp_path / "base"}
    weights.write_bytes(b"afterwards")
    with pytest.raises(UserError, match=r"the weights in .*model have changed since\); choose another --output"):
        evaluate_all({"base": settings}, tmp_path)


def test_a_failed_evaluation_is_told_in_one_line(tmp_path, capfd):
    code = main(["check", "--base", "x", "--candidate", "y", "--tasks", "no_such_task", "-o", str(tmp_path)])
    lines = capfd.readouterr().err.splitlines()
    assert code == 2
    assert lines[-2:] == [
        "emt: unknown task 'no_such_task'; see: emt tasks list",
        "emt: base: x could not be evaluated (see above); repeat the command to resume",
    ]


@pytest.mark.slow
def test_a_killed_check_resumes_and_ends_with_gate_and_report(tmp_path):
    from tests.support import sample_data, tiny_checkpoints

    data = sample_data.write_all(tmp_path / "data", size=200)
    models = [
        tiny_checkpoints.build("llava", tmp_path / name, seed=seed) for seed, name in enumerate(("base", "tuned"))
    ]
    output = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "emt_tasks.commands.app",
        "check",
        "--base",
        str(models[0]),
        "--candidate",
        str(models[1]),
    ]
    command += ["--tasks", "emt_cifar10", "-b", "1", "--device", "cpu", "-o", str(output)]
    environment = {**os.environ, "EMT_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    # Wait until the first answers are on disk, then kill it with all that it started.
    deadline = time.monotonic() + 300
    while not any(file.stat().st_size for file in output.rglob("*.audit.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (log,) = output.rglob("rank_0.audit.jsonl")
    kept = len(log.read_text().splitlines())
    assert 0 < kept < 200

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    assert f"emt_vlm: 100%|██████████| {200 - kept}/{200 - kept}" in done.stderr.replace("\r", "\n")
    assert "emt_cifar10" in done.stdout
    assert "What " in (output / "report.html").read_text()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (done.returncode, done.stdout)


def test_a_changed_task_of_the_users_is_another_evaluation(tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_INCLUDE", str(tmp_path))
    assert "included tasks" not in what_decides(BASE)
    (tmp_path / "mine.yaml").write_text("group: mine\ntask: [emt_mnist]\n")
    before = what_decides(BASE)
    (tmp_path / "mine.yaml").write_text("group: mine\ntask: [emt_cifar10]\n")
    assert what_decides(BASE)["included tasks"] != before["included tasks"]


FIRST_DAY = ("flowers102_lite", "ocr_vqa_lite", "emt_mnist_lite", "emt_cifar10_lite", "emt_cifar100_lite")


@pytest.fixture
def first_day(tmp_path, sample_data, monkeypatch):
    """A check of somebody without ImageNet, whose two evaluations are done and lost nothing."""
    data = shutil.copytree(sample_data, tmp_path / "data", ignore=shutil.ignore_patterns("*imagenet*", "imagewiki*"))
    monkeypatch.setenv("EMT_DATA_DIR", str(data))
    monkeypatch.setattr("emt_tasks.datasets.checks.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    output = tmp_path / "out"
    for role in ("base", "candidate"):
        settings = EvaluationSettings(f"models/{role}", FIRST_DAY)
        rows = {task: [judged_sample(number, "correct") for number in range(300)] for task in FIRST_DAY}
        write_run(output / role, rows, name=role)
        (output / role / SETTINGS_FILE).write_text(json.dumps(what_decides(settings)))
    return output


def check(output, *more):
    return main(["check", "--base", "models/base", "--candidate", "models/candidate", "-o", str(output), *more])


def test_the_first_day_without_imagenet_passes_when_asked_to_and_says_what_it_did_not_test(first_day, capfd):
    assert check(first_day, "--tasks", "auto") == 0
    told = capfd.readouterr()
    verdict = (
        "PASS: candidate is not inferior to base on any of 5 tasks and quadrants. NOT TESTED, for lack of data: "
        "idt_idi, oodt_idi, imagewikiqa_distractor_lite."
    )
    assert verdict in told.out
    assert "NOT TESTED: imagenet_vqa_lite (idt_idi): accept its terms at huggingface.co/datasets/ILSVRC" in told.out
    assert "2 of 4 quadrants can be tested:" in told.err
    page = (first_day / "report.html").read_text()
    assert "NOT TESTED, for lack of data: idt_idi, oodt_idi, imagewikiqa_distractor_lite." in page
    assert "NOT TESTED: imagenet_vqa_lite (idt_idi): accept its terms" in page


def test_by_default_a_part_of_the_matrix_is_not_a_pass(first_day, tmp_path, capfd):
    assert check(first_day) == 2
    told = capfd.readouterr()
    assert (
        "UNDECIDED: not enough evidence on imagenet_vqa_lite, imagewikiqa_lite, imagewikiqa_distractor_lite."
        in told.out
    )
    assert "imagenet_vqa_lite: required, but base and candidate did not run it" in told.out
    policy = tmp_path / "gate.yaml"
    policy.write_text("required: [ocr_vqa_lite]\n")
    assert check(first_day, "--policy", str(policy)) == 0


def test_forgetting_on_a_part_of_the_matrix_is_forgetting(first_day, capfd):
    lost = [judged_sample(number, "incorrect" if number < 60 else "correct") for number in range(300)]
    rows = {task: [judged_sample(number, "correct") for number in range(300)] for task in FIRST_DAY}
    write_run(first_day / "candidate", rows | {"flowers102_lite": lost}, name="candidate")
    assert check(first_day) == 1
    assert "FAIL: candidate forgot more than is allowed on flowers102_lite. NOT TESTED" in capfd.readouterr().out
