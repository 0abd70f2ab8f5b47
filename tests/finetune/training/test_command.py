"""The real command, killed, in two processes, and with a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emt_tasks.commands.app import main

REPOSITORY = Path(__file__).resolve().parents[3]
# Where there is no GPU, accelerate's `--multi_gpu` starts CPU processes that talk over gloo; its `--cpu` would start
# a single one, whatever --num_processes says.
FLAGS = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
LAUNCH = f"accelerate.commands.launch {FLAGS}"

NO_GRADIENT = ".k_proj.bias"
"""A key's bias adds the same to all of a query's scores, which softmax takes out: its gradient is rounding alone."""

ONE_STEP = 1e-3
"""The recipe's learning rate, which a step of Adam covers whatever the gradient's size: rounding stays below one."""


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own, with as many threads as this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", *module.split(), *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "last" / "model.safetensors")


def timeless(output: Path) -> list[dict[str, object]]:
    """The loss log without its times."""
    lines = [json.loads(line) for line in (output / "emt_train.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("_per_second")} for line in lines]


@pytest.mark.usefixtures("data_dir")
def test_killed_and_resumed_or_in_two_processes_it_is_the_same_run(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    """kill -9 and --resume: to the bit. Two processes with the same batch: to 1e-5 in float32."""
    recipe = recipe_file(steps=30, save={"every": 5})
    whole, killed, two = (tmp_path / name for name in ("whole", "killed", "two"))
    assert main(["finetune", recipe, f"output={whole}"]) == 0
    expected = weights(whole)

    victim = start("emt_tasks.commands.app", "finetune", recipe, f"output={killed}")
    log = killed / "emt_train.jsonl"
    while not (log.is_file() and log.read_text().count("\n") >= 7):
        assert victim.poll() is None, victim.stdout and victim.stdout.read()
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not (killed / "checkpoint-000030").exists()
    assert list(killed.glob("resume-*"))
    assert main(["finetune", recipe, f"output={killed}", "--resume"]) == 0
    for name, value in weights(killed).items():
        assert torch.equal(value, expected[name]), name
    assert timeless(killed) == timeless(whole)

    pair = start(f"{LAUNCH} -m emt_tasks.commands.app", "finetune", recipe, f"output={two}", "batch.micro=4")
    output, _ = pair.communicate()
    assert pair.returncode == 0, output
    assert "30 steps of 8 examples, on cpu in 2 processes" in output
    for name, value in weights(two).items():
        atol = ONE_STEP if name.endswith(NO_GRADIENT) else 1e-5
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=0, msg=name)
    for one, other in zip(timeless(whole), timeless(two), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["answer_tokens"] == other["answer_tokens"]


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(
    "module",
    ["emt_tasks.commands.app", pytest.param(f"{LAUNCH} -m emt_tasks.commands.app", marks=pytest.mark.slow)],
    ids=["one process", "two processes"],
)
def test_sigterm_saves_then_ends(recipe_file: Callable[..., str], tmp_path: Path, module: str) -> None:
    recipe = recipe_file(steps=2000, save={"every": "end"})
    output = tmp_path / "run"
    asked = start(module, "finetune", recipe, f"output={output}")
    log = output / "emt_train.jsonl"
    while not (log.is_file() and log.read_text().count("\n") >= 3):
        assert asked.poll() is None, asked.stdout and asked.stdout.read()
        time.sleep(0.01)
    asked.send_signal(signal.SIGTERM)
    printed, _ = asked.communicate(timeout=60)
    assert asked.returncode != 0
    (state,) = output.glob("resume-*")
    step = int(state.name.removeprefix("resume-"))
    assert (output / f"checkpoint-{step:06d}" / "model.safetensors").is_file()
    assert log.read_text().count("\n") == step < 2000
    if "launch" not in module:
        assert asked.returncode == 2
        assert f"emt: stopped by SIGTERM after step {step}, which is saved; go on with --resume" in printed


@pytest.mark.usefixtures("data_dir")
def test_only_the_newest_checkpoints_are_kept(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert main(["finetune", recipe_file(steps=5, save={"every": 1, "keep": 2}), f"output={output}"]) == 0
    assert sorted(path.name for path in output.glob("checkpoint-*")) == ["checkpoint-000004", "checkpoint-000005"]
    assert (output / "last").resolve().name == "checkpoint-000005"


@pytest.mark.usefixtures("data_dir")
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    recipe_file: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Files may grow to 100 kB, less than the model's 300: the second save fails in the middle, as on a full disk."""
    recipe = recipe_file(steps=2, save={"every": 1})
    output = tmp_path / "run"
    assert main(["finetune", recipe]) == 0
    kept = (output / "checkpoint-000001" / "model.safetensors").read_bytes()
    for path in (output / "resume-000002", output / "checkpoint-000002"):
        path.rename(tmp_path / path.name)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        code = main(["finetune", recipe, "--resume"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = capfd.readouterr().err
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.startswith("emt: ")]
    assert "checkpoint-000001 cannot be written (" in line
    assert "free some space, then --resume" in line
    assert "Traceback" not in error
    assert (output / "checkpoint-000001" / "model.safetensors").read_bytes() == kept
    assert not list(output.glob(".*partial"))
