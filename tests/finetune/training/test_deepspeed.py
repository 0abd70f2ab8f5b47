"""DeepSpeed's ZeRO stages 2 and 3 on two processes: the same run as on one, also after kill -9 and --resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from emt_tasks.commands.app import main
from finetune.training.checkpoint import LOG_FILE
from tests.finetune.training.test_fsdp import REPOSITORY, kill_all, weights


def start(config: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command on two processes, as the configuration says."""
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "-m", "emt_tasks"]
    return subprocess.Popen(
        [*command, "finetune", *arguments],
        env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_trains_as_one_process(recipe_file: Callable[..., str], tmp_path: Path, stage: int) -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    config = tmp_path / "zero.yaml"
    zero = {"zero_stage": stage, "zero3_init_flag": stage == 3}
    settings = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "DEEPSPEED", "mixed_precision": "no"}
    config.write_text(yaml.safe_dump({**settings, "use_cpu": True, "num_processes": 2, "deepspeed_config": zero}))
    recipe = recipe_file(
        model="emt:tiny", train="full", steps=30, save={"every": 10}, batch={"size": 8, "micro": 4},
        optimiser={"name": "sgd", "learning_rate": 0.1, "clip": 0.05},
    )  # fmt: skip
    one, spread = tmp_path / "one", tmp_path / "spread"
    assert main(["finetune", recipe, f"output={one}"]) == 0

    victim = start(config, recipe, f"output={spread}")
    while not list(spread.glob("resume-*")):
        assert victim.poll() is None, victim.stdout and victim.stdout.read()
        time.sleep(0.01)
    kill_all(victim)
    assert not (spread / "checkpoint-000030").exists()
    resumed = start(config, recipe, f"output={spread}", "--resume")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    assert "of them done, on cpu in 2 processes" in output

    norms = [
        [json.loads(line)["gradient_norm"] for line in (folder / LOG_FILE).read_text().splitlines()]
        for folder in (one, spread)
    ]
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)
    assert max(norms[0]) > 0.05  # clipping mattered
    expected, found = weights(one), weights(spread)
    assert set(found) == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=0, msg=name)
