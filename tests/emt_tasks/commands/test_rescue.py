"""`emt rescue`: what it refuses, and one search through the real command."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.runs import read_run
from emt_tasks.commands.app import main
from emt_tasks.commands.rescue_output import Search, frontier, in_a_line, kept, picture
from emt_tasks.demo import tiny
from finetune.rescue.merges import Merge
from finetune.rescue.search import Aim, weigh
from leaderboards.comparison.forgetting import compare
from leaderboards.gate.decide import decide
from leaderboards.gate.policy import Policy
from tests.support.synthetic_runs import judged_sample, write_run


def test_a_run_has_no_weights(tmp_path, capsys):
    run = write_run(tmp_path / "run", {"task": [judged_sample(0, "correct")]})
    assert main(["rescue", str(run), "models/tuned", "--learn", "task", "-o", str(tmp_path / "out")]) == 2
    assert "a finished run has no weights to merge" in capsys.readouterr().err


def test_a_model_of_the_user_s_is_not_replaced(tmp_path, capsys):
    (tmp_path / "rescued").mkdir()
    assert main(["rescue", "a", "b", "--learn", "task", "-o", str(tmp_path)]) == 2
    assert "was not written by emt rescue" in capsys.readouterr().err


def test_a_line_by_hand(tmp_path):
    """The candidate gained 40 points, the merge 30 of them; it lost 2 on the other task.

    Of 100 documents 10 are gained by the candidate alone and 30 by both: gains a and b have means 0.4 and 0.3,
    variances 0.24 and 0.21, and a covariance of 0.3 − 0.12 = 0.18 (all times 100/99). Var log(b/a) = (0.24 / 0.16 −
    2 · 0.18 / 0.12 + 0.21 / 0.09) / 99 = 0.8333 / 99, so the ratio is 0.75 · exp(± 1.96 · 0.0917): 63 to 90 %.
    """

    def run(name: str, new: int, old: int):
        samples = {
            task: [judged_sample(doc, "correct" if doc < right else "incorrect") for doc in range(100)]
            for task, right in (("new", new), ("old", old))
        }
        return read_run(write_run(tmp_path / name, samples))

    base, candidate, merged = run("base", 10, 90), run("candidate", 50, 20), run("merged", 40, 88)
    after = decide(compare(base, merged), Policy(margin=10))
    line = in_a_line("0.40 of the base", kept(base, candidate, merged, "new", ()), after, "new")
    assert line.startswith("0.40 of the base: keeps 75 % (62.7 to 89.8) of what was learned, forgetting 2.0 points (")
    assert line.endswith(", passes.")
    assert kept(base, candidate, merged, "new", range(40)).n == 60


@pytest.mark.parametrize(("scaled", "name"), [(False, "0.30 of the base"), (True, "the adapter scaled by 0.70")])
def test_a_frontier_by_hand(scaled, name):
    """Of 4 documents the merge gains one, half of the candidate's gain of 0.5, and loses one of the other task's.

    The best of the others is the candidate itself, tried on two documents: it loses both.
    """
    base = {"new": np.zeros(4), "old": np.ones(4)}
    scores = {
        Merge(0.3): {"new": np.array([1.0, 0, 0, 0]), "old": np.array([1.0, 1, 1, 0])},
        Merge(0.0): {"new": np.array([1.0, 0]), "old": np.zeros(2)},
    }
    aim = Aim("new", 0.5, {"old": 0.1}, base)
    trials = [weigh(merge, own, aim) for merge, own in scores.items()]
    samples = {task: pl.DataFrame({"doc_id": [7, 3, 5, 1], "cluster": ["a", "b", "c", "d"]}) for task in ("new", "old")}
    search = Search(trials, aim, scores, samples, scaled, ["llm"])
    rows = json.loads(frontier(search))
    assert next(row["merge"] for row in rows) == name
    assert [row["chosen"] for row in rows] == [True, False] and [row["documents"] for row in rows] == [4, 2]
    assert [row["learned"]["estimate"] for row in rows] == pytest.approx([50, 100])
    assert [row["drops"]["old"]["estimate"] for row in rows] == pytest.approx([25, 100])
    assert rows[0]["drops"]["old"]["lower"] < 25 < rows[0]["drops"]["old"]["upper"]
    assert not any(row["may_pass"] for row in rows)
    assert search.documents == {"new": [7, 3, 5, 1], "old": [7, 3, 5, 1]}
    drawn = picture(search, 10.0)
    assert "<svg" in drawn and name in drawn and ">candidate<" in drawn


def test_documents_of_the_search_are_left_out(tmp_path):
    samples = [judged_sample(doc, "correct" if doc < 50 else "incorrect") for doc in range(100)]
    run = read_run(write_run(tmp_path / "run", {"task": samples}))
    (task,) = compare(run, run, without={"task": range(50)}).tasks
    assert (task.n, task.documents, task.excluded.missing_base) == (50, 50, 0)
    assert task.scores and task.scores.base.estimate == 0


@pytest.mark.slow
def test_through_the_real_command(tmp_path):
    """A tower pushed far away forgets shapes; a merge brings them back, and what it scores is written."""
    model = AutoModelForImageTextToText.from_pretrained(tiny.PATH)
    tuned = tmp_path / "tuned"
    train = ["finetune", "demo/full_high", f"output={tuned}", "evaluate.tasks=[]", "steps=40", "save.every=end"]
    assert subprocess.run([sys.executable, "-m", "emt_tasks", *train], cwd=tmp_path, check=False).returncode == 0
    command = ["rescue", "emt:tiny", str(tuned / "last"), "--learn", "demo_digits", "-b", "100", "--documents", "40"]
    command += ["--tasks", "demo_digits,demo_shapes", "-o", "out", "--margin", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "emt_tasks", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1, 2) and "of the base" in done.stdout, done.stderr[-2000:]
    assert "keeps" in done.stdout.splitlines()[-1] or "No merge was found that passes" in done.stdout
    frontier = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert {row["share"] for row in frontier} >= {0.0, 0.5, 0.9}
    assert "<svg" in (tmp_path / "out" / "frontier.svg").read_text()
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "rescued")
    assert dict(merged.named_parameters()).keys() == dict(model.named_parameters()).keys()
    AutoProcessor.from_pretrained(tmp_path / "out" / "rescued")
