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

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from emt_tasks.commands.evaluations import SETTINGS_FILE, eval_arguments, evaluate, what_decides
from emt_tasks.tasks.evaluator import EvaluationSettings, is_adapter_alone
from tests.support.synthetic_runs import judged_sample, write_run

BASE = EvaluationSettings("models/base", ("emt_mnist",), batch_size=16, device="cpu")


def finish(folder, settings=BASE):
    """Leave what a finished evaluation leaves."""
    folder.mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text(json.dumps(what_decides(settings)))
    (folder / "20261122_120000_results.json").write_text("{}")


def test_an_evaluation_is_a_command_of_emt(tmp_path):
    assert eval_arguments(replace(BASE, cache=tmp_path / "cache"), tmp_path / "base") == [
        *("eval", "models/base", "--tasks", "emt_mnist", "--model-kind", "emt_vlm", "--batch-size", "16"),
        *("--device", "cpu", "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "base")),
    ]


def test_every_setting_reaches_the_evaluator(tmp_path, monkeypatch):
    from emt_tasks.commands import evaluate as command

    sent = EvaluationSettings(
        *("models/base", ("emt_mnist", "imagewikiqa"), "emt_vlm", "adapter", 3, "cuda:1", 7, "exact", "dtype=float32"),
        cache=tmp_path,
    )
    received = []
    monkeypatch.setattr(command, "evaluate_model", lambda settings, output, overwrite: received.append(settings) or {})
    assert main(eval_arguments(sent, tmp_path / "run")) == 0
    assert received == [sent]


def test_an_adapter_goes_on_its_own_base_or_on_the_one_given(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    assert is_adapter_alone(str(tmp_path))
    alone = replace(BASE, model=str(tmp_path)).arguments()
    assert alone[alone.index("--model_args") + 1] == f"peft={tmp_path}"
    on = replace(BASE, peft=str(tmp_path)).arguments()
    assert on[on.index("--model_args") + 1] == f"pretrained=models/base,peft={tmp_path}"


def test_a_finished_run_is_used_again_whatever_the_batch_and_the_device(tmp_path):
    finish(tmp_path / "base")
    assert evaluate("base", replace(BASE, batch_size=1, device=None), tmp_path) == tmp_path / "base"


def test_a_run_of_the_users_own_is_taken_as_it_is(tmp_path):
    finish(tmp_path / "mine")
    assert evaluate("base", replace(BASE, model=str(tmp_path / "mine")), tmp_path / "out") == tmp_path / "mine"


def test_a_run_of_other_settings_is_never_mixed_in(tmp_path):
    finish(tmp_path / "base")
    with pytest.raises(UserError, match=r"limit is None there, 5 here\); choose another --output"):
        evaluate("base", replace(BASE, limit=5), tmp_path)


def test_a_run_of_weights_that_were_trained_again_is_not_used(tmp_path):
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"before")
    settings = replace(BASE, model=str(weights.parent))
    finish(tmp_path / "base", settings)
    assert evaluate("base", settings, tmp_path) == tmp_path / "base"
    weights.write_bytes(b"afterwards")
    with pytest.raises(UserError, match=r"the weights in .*model have changed since\); choose another --output"):
        evaluate("base", settings, tmp_path)


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
