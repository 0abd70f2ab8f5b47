"""One run of the real lmms-eval command, shared by the tests that look at what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Run:
    """What one run of lmms-eval left: its results, and the samples of each task."""

    folder: Path
    output: str
    results: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self):
        (file,) = self.folder.rglob("*_results.json")
        self.results = json.loads(file.read_text())
        for task in self.results["configs"]:
            (file,) = self.folder.rglob(f"*_samples_{task}.jsonl")
            self.samples[task] = [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="session")
def lmms_eval() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the installed lmms-eval command offline, on data from a folder."""
    command = Path(sys.executable).with_name("lmms-eval")

    def call(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EMT_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"}
        return subprocess.run([command, *arguments], env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory) -> Path:
    """Small data sets in the columns of the hub's."""
    from tests.support import sample_data

    return sample_data.write_all(tmp_path_factory.mktemp("data"), size=12)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory) -> Path:
    """A checkpoint of a LLaVA with random weights."""
    from tests.support import tiny_checkpoints

    return tiny_checkpoints.build("llava", tmp_path_factory.mktemp("checkpoints") / "llava")


@pytest.fixture(scope="session")
def read_run() -> Callable[[Path, str], Run]:
    """Read what a run of lmms-eval left in a folder."""
    return Run


TASKS = ("emt", "forgetting_matrix", "emt_mnist_lite", "emt_mnist_closed", "imagewikiqa_distractor_closed")


@pytest.fixture(scope="session")
def run(tmp_path_factory, lmms_eval, sample_data, tiny_llava) -> Run:
    """All our generated tasks, and one lite and two closed ones, through the real command."""
    folder = tmp_path_factory.mktemp("run")
    done = lmms_eval(
        *("--model", "emt_vlm", "--model_args", f"pretrained={tiny_llava}", "--tasks", ",".join(TASKS)),
        *("--batch_size", "8", "--device", "cpu", "--output_path", str(folder), "--log_samples"),
        data=sample_data,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.rglob("*_results.json")), done.stdout + done.stderr
    return Run(folder, done.stdout)
