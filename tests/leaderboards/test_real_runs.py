"""Runs that lmms-eval made of two real checkpoints on real data: through gate, report, site and every export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboards.exports import FORMATS

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

TASKS = "emt_cifar10,emt_mnist_lite,imagewikiqa"


@pytest.fixture(scope="module")
def runs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two tiny random checkpoints, evaluated on 120 documents a task."""
    from tests.support.tiny_checkpoints import build

    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for seed in (0, 7):
        model, run = build("llava", folder / f"model-{seed}", seed), folder / f"run{seed}"
        arguments = ["--tasks", TASKS, "--limit", "120", "-b", "16", "--device", "cpu", "-o", str(run)]
        _emt("eval", str(model), *arguments, data=real_data)
        paths.append(str(run))
    return paths[0], paths[1]


def _emt(*arguments: str, data: Path, codes: tuple[int, ...] = (0,)) -> str:
    import os

    environment = os.environ | {"EMT_DATA_DIR": str(data), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "emt_tasks.commands.app", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr[-2000:]
    return done.stdout


def test_gate_and_report(runs: tuple[str, str], real_data: Path, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    assert "emt_mnist_lite" in _emt("gate", *runs, data=real_data, codes=(0, 1, 2))
    out = tmp_path / "report.html"
    _emt("report", *runs, "-o", str(out), "--finetuned-on", "emt_cifar10", data=real_data)
    page = open_page(out)
    assert page.locator(".row .name").count() >= 2 * 3
    tasks = page.locator("#flips label:has-text('Task') option").evaluate_all("all => all.map((each) => each.value)")
    assert tasks == sorted(TASKS.split(","))
    for task in tasks:
        page.select_option("#flips label:has-text('Task') select", task)
        shown = page.locator("#flips article")
        # A sample that flipped has its image, also where the documents were a choice of the data set's rows.
        assert page.locator("#flips img").count() == shown.count()


@pytest.mark.parametrize("name", FORMATS)
def test_exports(runs: tuple[str, str], real_data: Path, tmp_path: Path, name: str) -> None:
    hub = ["--dataset", "emt_cifar10=uoft-cs/cifar10"]
    files = _emt("export", runs[1], "--to", name, "-o", str(tmp_path), *hub, data=real_data).split()
    assert files
    assert all(Path(file).stat().st_size for file in files)


def test_site(runs: tuple[str, str], real_data: Path, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    _emt("leaderboard", "build", runs[1], "--base", runs[0], "-o", str(tmp_path / "site"), data=real_data)
    page = open_page(tmp_path / "site" / "index.html")
    assert page.locator("#board tbody tr").count() == 52
    open_page(next((tmp_path / "site" / "reports").iterdir()))
