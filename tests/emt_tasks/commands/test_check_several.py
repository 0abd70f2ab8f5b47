"""`emt check` of several candidates, and look by look, on the tiny model: real evaluations, all in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from emt_core.runs import read_run
from emt_tasks.tasks.documents import random_order

pytestmark = pytest.mark.slow

TASK = "demo_digits"
DOCUMENTS = 400

# The process that evaluates is this one: importing lmms-eval takes longer than everything else.
COMMANDS = """
import contextlib, io, json, sys
from emt_tasks.commands import evaluations
from emt_tasks.commands.app import main

evaluations._run = lambda command: main(command[3:])
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    print("CASE " + json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""


def write_adapter(folder: Path, scale: float, seed: int) -> Path:
    """Write a random LoRA adapter of the tiny model; the scale says how much it changes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from emt_tasks.demo import tiny

    model = AutoModelForImageTextToText.from_pretrained(tiny.PATH)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=r".*language_model.*(q|v)_proj", init_lora_weights=False)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
        for name, weights in wrapped.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weights, std=scale)
        wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """A check of two adapters together, one of each alone, and one of both look by look, twice."""
    folder = tmp_path_factory.mktemp("several")
    broken, like = (write_adapter(folder / name, scale, 1) for name, scale in (("broken", 3.0), ("like", 1e-4)))
    both = [str(broken), str(like)]

    def check(output, *candidates, more=()):
        given = ["check", "--base", "emt:tiny", "--candidate", *candidates, "-t", TASK, "--margin", "5", *more]
        return [*given, "--device", "cpu", "-o", str(folder / output)]

    todo = {
        "together": check("together", *both, more=["-b", "auto"]),
        "broken": check("broken-alone", str(broken), more=["-b", "50"]),
        "like": check("like-alone", str(like), more=["-b", "50"]),
        "looks": check("looks", *both, more=["--sequential", "-b", "50"]),
        "looks again": check("looks", *both, more=["--sequential", "-b", "50"]),
    }
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "150", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMANDS, json.dumps(list(todo.values()))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    printed = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("CASE ")]
    assert len(printed) == len(todo), done.stdout + done.stderr
    return folder, dict(zip(todo, printed, strict=True))


def run_of(folder, output, name):
    """Return the folder of a candidate's run, or the base's."""
    if name == "base":
        return folder / output / "base"
    (found,) = (folder / output / "candidates").glob(f"{name}-*")
    return found


def answers(run):
    """Return each document's answer."""
    (task,) = read_run(run).tasks.values()
    rows = map(json.loads, task.samples.read_text().splitlines())
    return {row["doc_id"]: row["filtered_resps"] for row in rows}


def asked(run):
    """Return how often each document was asked by each version of the code, as lmms-eval's cache counts it."""
    (log,) = run.rglob("rank_0.audit.jsonl")
    rows = map(json.loads, log.read_text().splitlines())
    return Counter((row["doc_id"], row["eval_version"]) for row in rows)


@pytest.mark.parametrize("name", ["broken", "like"])
def test_each_of_several_answers_and_is_judged_as_in_a_check_of_its_own(checks, name):
    folder, printed = checks
    together, alone = answers(run_of(folder, "together", name)), answers(folder / f"{name}-alone" / "candidate")
    assert together == alone
    assert len(together) == DOCUMENTS
    assert answers(folder / "together" / "base") == answers(folder / f"{name}-alone" / "base")
    assert printed[name]["code"] == {"broken": 1, "like": 0}[name]


def test_one_check_has_a_verdict_for_each_and_the_worst_exit_code(checks):
    folder, printed = checks
    told = printed["together"]
    assert told["code"] == 1
    verdicts = told["out"].splitlines()[-3:]
    assert [line.split()[:2] for line in verdicts[1:]] == [["broken", "FORGETTING"], ["like", "pass"]]
    page = (folder / "together" / "report.html").read_text()
    assert "Of 2 candidates compared with" in page
    # Each image goes through the tower once, for the base, and is read for both adapters.
    assert f"vision tower: {DOCUMENTS} images computed, {2 * DOCUMENTS} read from memory" in told["err"]
    assert told["err"].count("To look for a merge that passes: emt rescue") == 1


def test_looks_end_as_soon_as_each_verdict_stands(checks):
    folder, printed = checks
    told = printed["looks"]
    assert told["code"] == 1
    assert [line.split()[:2] for line in told["out"].splitlines()[-2:]] == [["broken", "FORGETTING"], ["like", "pass"]]
    order = random_order(TASK, DOCUMENTS)
    looks = {}
    for name in ("base", "broken", "like"):
        run = run_of(folder, "looks", name)
        look = read_run(run).tasks[TASK].look
        looks[name] = look.number
        assert (look.of, look.most, look.documents) == (10, DOCUMENTS, 40 * look.number)
        # The first documents of a random order, which have no rank in the data set's, and each was asked about once.
        assert set(answers(run)) == set(order[: look.documents]) != set(range(look.documents))
        assert {number for number, _ in asked(run)} == set(answers(run))
        assert set(asked(run).values()) == {1}
    assert looks["base"] == max(looks["broken"], looks["like"])
    assert looks["broken"] < looks["like"] < 10


def test_a_sequential_check_that_is_finished_is_not_evaluated_again(checks):
    _, printed = checks
    first, again = printed["looks"], printed["looks again"]
    assert (again["code"], again["out"]) == (first["code"], first["out"])
    assert "look 1 of 10" in first["err"]
    assert "look 1 of 10" not in again["err"]
