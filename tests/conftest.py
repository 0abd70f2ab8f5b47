"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Two test processes on two cores are slower with four threads than with two; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

# A shell lets the jobs that it starts in the background ignore Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does; examples are the same in every run.
hypothesis.settings.register_profile("emt", deadline=None, derandomize=True)
hypothesis.settings.load_profile("emt")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MNIST, CIFAR-10, ImageNet and ImageWikiQA samples; skips where there is none."""
    for candidate in (os.environ.get("EMT_DATA_DIR"), REPOSITORY.parent / "shared" / "data"):
        if candidate and (Path(candidate) / "imagewikiqa" / "test.parquet").is_file():
            return Path(candidate).resolve()
    pytest.skip("needs real data: set EMT_DATA_DIR to a folder that holds imagewikiqa/test.parquet and its like")
