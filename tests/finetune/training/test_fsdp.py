"""FSDP on two processes: the same run as on one, also after kill -9 and --resume."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from emt_tasks.commands.app import main

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "tests" / "support" / "fsdp_on_cpus.py"
SETTINGS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command on two processes that share the model's weights between them."""
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    return subprocess.Popen(
        [sys.executable, *launch, "finetune", *arguments],
        env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def kill_all(process: subprocess.Popen[str]) -> None:
    """kill -9 for the launcher and the processes that it started."""
    for one in (*psutil.Process(process.pid).children(recursive=True), process):
        one.kill()
    process.communicate()


def weights(output: Path) -> dict[str, torch.Tensor]:
    (file,) = (output / "last").glob("*.safetensors")
    return load_file(file)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.slow
@pytest.mark.parametrize(
    "train",
    ["full", {"llm": {"lora": {"rank": 4}}, "projector": {}}],
    ids=["full", "LoRA and projector"],
)
def test_weights_spread_over_processes_train_as_in_one(
    recipe_file: Callable[..., str], tmp_path: Path, train: Any
) -> None:
    recipe = recipe_file(model="emt:tiny", train=train, steps=30, save={"every": 10}, batch={"size": 8, "micro": 4})
    one, spread = tmp_path / "one", tmp_path / "spread"
    assert main(["finetune", recipe, f"output={one}"]) == 0
    expected = weights(one)

    victim = start(recipe, f"output={spread}")
    while not list(spread.glob("resume-*")):
        assert victim.poll() is None, victim.stdout and victim.stdout.read()
        time.sleep(0.01)
    kill_all(victim)
    assert not (spread / "checkpoint-000030").exists()
    resumed = start(recipe, f"output={spread}", "--resume")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert "10 of them done, on cpu in 2 processes" in output or "20 of them done, on cpu in 2 processes" in output
    assert (spread / "resume-000030" / "sharded").is_dir()
    assert len(list(spread.glob("resume-*"))) == 1

    found = weights(spread)
    assert set(found) == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0, msg=name)
