"""One process and two give the same answers, through the real `accelerate launch`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ask_in_processes import answer

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "tests" / "support" / "ask_in_processes.py"
# Where there is no GPU, accelerate's `--multi_gpu` starts CPU processes that talk over gloo; its `--cpu` would start
# a single one, whatever --num_processes says.
FLAGS = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"


def test_one_process_and_two_answer_alike(checkpoint, documents, tmp_path):
    for number, document in enumerate(documents[:7]):  # an odd number: the shares differ
        document["image"].save(tmp_path / f"{number}.png")
    one = answer(str(checkpoint("llava")), str(tmp_path))

    arguments = [str(checkpoint("llava")), str(tmp_path), str(tmp_path / "part")]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *FLAGS.split(), str(SCRIPT), *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = [json.loads((tmp_path / f"part.{rank}").read_text()) for rank in range(2)]

    assert [part["processes"] for part in (one, *two)] == [1, 2, 2]
    assert [part["requests"] for part in (one, *two)] == [7, 7, 7]
    assert [len(part["answers"]) for part in two] == [4, 3]
    answers = {doc_id: text for part in two for doc_id, text in part["answers"]}
    assert answers == dict(one["answers"])
    assert len(set(answers.values())) > 2
    scores = sorted((doc_id, score) for part in two for doc_id, score, _ in part["scores"])
    assert [score for _, score in scores] == pytest.approx(sorted_scores(one), abs=1e-4)


def sorted_scores(part):
    return [score for _, score in sorted((doc_id, score) for doc_id, score, _ in part["scores"])]
