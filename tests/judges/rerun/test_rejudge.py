"""Judging again: a run's copy with new verdicts and means, rows in order, resumed after a kill, never overwritten."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.files import dump_row, read_rows
from judges import Verdict, get_judge
from judges.rerun.rejudge import find_work, rejudge

DATE = "20260101_000000"
CHOICES = ["fur", "tabby cat", "paw"]


def sample(doc_id, answer, described, **metrics):
    """A sample as lmms-eval 0.7 logs it, judged wrong."""
    judged = {"accuracy": 0.0, "incorrect": 0.0, "intrinsic": 0.0, "extrinsic": 1.0, "unscored": 0.0} | metrics
    stale = {"category": "extrinsic", "matches": [], "judge": "old", "confidence": 1.0, "reason": "stale"}
    return {
        "doc_id": doc_id,
        "target": "cat",
        "filtered_resps": answer,
        "doc_hash": "0",
        **judged,
        "verdict": stale,
        "judge_target": described,
    }


def classified(label):
    return {"kind": "classification", "vocabulary": "cifar10", "label": label}


def distractor(label):
    return {"kind": "multiple_choice", "label": label, "choices": CHOICES, "class_name": "tabby cat"}


CIFAR_SAMPLES = [sample(n, answer, classified(3)) for n, answer in enumerate(["cat", "a dog", "cat or dog", "sofa"])]
WIKI_SAMPLES = [sample(n, answer, distractor("A"), class_name_chosen=0.0) for n, answer in enumerate(["(A)", "(B)"])]
OTHER_SAMPLES = [{"doc_id": 0, "filtered_resps": "x", "target": "y", "exact_match": 1.0}]


def metrics(**values):
    return {f"{name},none": value for name, value in values.items()}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of three tasks, one of them not ours, in the folders that lmms-eval makes."""
    folder = tmp_path / "run"
    model = folder / "org__model"
    model.mkdir(parents=True)
    tasks = {"emt_cifar10": CIFAR_SAMPLES, "imagewikiqa_distractor": WIKI_SAMPLES, "mme": OTHER_SAMPLES}
    for task, samples in tasks.items():
        (model / f"{DATE}_samples_{task}.jsonl").write_bytes(b"".join(map(dump_row, samples)))
    results = {
        "results": {
            "emt_cifar10": {"alias": "c", "samples": 4} | metrics(accuracy=0.0, extrinsic=1.0, unscored=0.0),
            "imagewikiqa_distractor": {"alias": "w", "samples": 2} | metrics(accuracy=0.0, class_name_chosen=0.0),
            "mme": {"alias": "m", "samples": 1} | metrics(exact_match=1.0),
        },
        "config": {"model": "emt_vlm"},
        "date": 1.5,
    }
    (model / f"{DATE}_results.json").write_text(json.dumps(results))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def again(source, out, *, tasks=(), by=None, overwrite=False, advance=lambda _: None):
    judge = by or get_judge("fuzzy")
    return rejudge(find_work(source, tasks), out, judge, overwrite=overwrite, advance=advance)


def test_a_run(run, tmp_path):
    before = contents(run)
    counts = again(run, tmp_path / "out")
    assert contents(run) == before
    assert counts == {"correct": 2, "incorrect": 2, "intrinsic": 1, "extrinsic": 1}

    model = tmp_path / "out" / "org__model"
    judged = [row for _, row in read_rows(model / f"{DATE}_samples_emt_cifar10.jsonl")]
    assert [row["verdict"]["category"] for row in judged] == ["correct", "incorrect", "intrinsic", "extrinsic"]
    assert [row["accuracy"] for row in judged] == [1.0, 0.0, 0.0, 0.0]
    assert [row["intrinsic"] for row in judged] == [0.0, 0.0, 1.0, 0.0]
    assert [list(row) for row in judged] == [[*row, "judged_by"] for row in CIFAR_SAMPLES]
    chosen = [row["class_name_chosen"] for _, row in read_rows(model / f"{DATE}_samples_imagewikiqa_distractor.jsonl")]
    assert chosen == [0.0, 1.0]
    assert (model / f"{DATE}_samples_mme.jsonl").read_bytes() == before[f"org__model/{DATE}_samples_mme.jsonl"]

    results = json.loads((model / f"{DATE}_results.json").read_text())
    assert results["results"] == {
        "emt_cifar10": {"alias": "c", "samples": 4} | metrics(accuracy=0.25, extrinsic=0.25, unscored=0.0),
        "imagewikiqa_distractor": {"alias": "w", "samples": 2} | metrics(accuracy=0.5, class_name_chosen=0.5),
        "mme": {"alias": "m", "samples": 1} | metrics(exact_match=1.0),
    }
    assert results["judged_again_by"] == "fuzzy"
    assert (results["config"], results["date"]) == ({"model": "emt_vlm"}, 1.5)


def test_one_task_of_a_run(run, tmp_path):
    again(run, tmp_path / "out", tasks=["emt_cifar10"])
    name = f"org__model/{DATE}_samples_imagewikiqa_distractor.jsonl"
    assert contents(tmp_path / "out")[name] == contents(run)[name]


class Unscored:
    name = "unscored"

    def judge_many(self, items):
        return (Verdict("unscored", (), self.name, 0.0, "no answer") for _ in items)


def test_unscored_samples_leave_the_mean(run, tmp_path):
    assert again(run, tmp_path / "out", by=Unscored(), tasks=["emt_cifar10"]) == {"unscored": 4}
    results = json.loads((tmp_path / "out" / "org__model" / f"{DATE}_results.json").read_text())
    expected = metrics(accuracy=None, extrinsic=None, unscored=1.0)
    assert results["results"]["emt_cifar10"] == {"alias": "c", "samples": 4} | expected


@pytest.fixture
def rows(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    plain = [{"task": "cifar10", "label": "cat", "prediction": f"cat \ud800 数字 {n}", "mine": n} for n in range(3000)]
    path.write_bytes(b"".join(map(dump_row, plain)))
    return path


def test_rows_keep_order_and_fields(rows, tmp_path):
    again(rows, tmp_path / "out.jsonl")
    before, after = ([row for _, row in read_rows(path)] for path in (rows, tmp_path / "out.jsonl"))
    assert [{k: v for k, v in row.items() if k != "verdict"} for row in after] == before
    seventh = get_judge("fuzzy").judge(*list(find_work(rows).items())[7])
    assert after[7]["verdict"] == json.loads(json.dumps(seventh.as_dict()))


KILLED = """
import os, signal, sys, time
from pathlib import Path
from judges import get_judge
from judges.rerun.rejudge import find_work, rejudge

class Slow:
    name = "fuzzy"
    def judge_many(self, items):
        for number, verdict in enumerate(get_judge("fuzzy").judge_many(items)):
            if number == 1000:
                print("there", flush=True)
                time.sleep(60)
            yield verdict

rejudge(find_work(Path(sys.argv[1])), Path(sys.argv[2]), Slow())
"""


def partials(folder):
    return sorted(folder.glob("*.partial-*"))


def test_a_killed_process_is_resumed_with_the_same_result(rows, tmp_path):
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", KILLED, str(rows), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert said == "there\n"
    assert not out.exists()
    (partial,) = partials(tmp_path)
    assert len(partial.read_bytes().splitlines()) == 1000
    # As if the kill had come in the middle of a row.
    with partial.open("ab") as lines:
        lines.write(b'{"task": "cifar10", "lab')

    advanced: list[int] = []
    again(rows, out, advance=advanced.append)
    assert advanced[:2] == [1000, 1]
    assert sum(advanced) == 3000
    again(rows, tmp_path / "uninterrupted.jsonl")
    assert out.read_bytes() == (tmp_path / "uninterrupted.jsonl").read_bytes()
    assert partials(tmp_path) == []


class Interrupted:
    """Judges a few rows, then the user presses Ctrl-C."""

    name = "fuzzy"  # the judge that resumes

    def __init__(self, after):
        self.after = after

    def judge_many(self, items):
        for number, item in enumerate(items):
            if number == self.after:
                raise KeyboardInterrupt
            yield get_judge("fuzzy").judge(*item)


def test_an_interrupted_run_is_resumed_with_the_same_result(run, tmp_path):
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            again(run, tmp_path / "out", by=Interrupted(after=1))
    again(run, tmp_path / "out")
    again(run, tmp_path / "uninterrupted")
    assert contents(tmp_path / "out") == contents(tmp_path / "uninterrupted")


def test_another_input_starts_afresh(rows, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        again(rows, tmp_path / "out.jsonl", by=Interrupted(after=5))
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[10:]))
    assert again(rows, tmp_path / "out.jsonl").total() == 2990


def test_two_processes_do_not_write_one_output(rows, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        again(rows, tmp_path / "out.jsonl", by=Interrupted(after=5))
    with partials(tmp_path)[0].open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is writing it"):
            again(rows, tmp_path / "out.jsonl")


@pytest.mark.parametrize("name", ["out", "out.jsonl"])
def test_nothing_is_overwritten_unless_asked(run, rows, tmp_path, name):
    source, out = (run if name == "out" else rows), tmp_path / name
    again(source, out)
    first = out.stat().st_ino
    with pytest.raises(UserError, match=rf"-o .*{name}: already exists; .*--overwrite"):
        again(source, out)
    assert out.stat().st_ino == first
    again(source, out, overwrite=True)
    assert out.stat().st_ino != first
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == [name]


@pytest.mark.parametrize("place", ["run", "run/org__model", "run/new", "."])
def test_the_original_is_never_written_to(run, tmp_path, place):
    before = contents(run)
    with pytest.raises(UserError, match="overlaps the input"):
        again(run, tmp_path / place, overwrite=True)
    assert contents(run) == before


def test_a_file_does_not_replace_a_folder(run, rows, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder, but the output is a file"):
        again(rows, tmp_path / "folder", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, but the output is a folder"):
        again(run, tmp_path / "file", overwrite=True)


def test_what_there_is_to_judge(run, rows, tmp_path):
    with pytest.raises(
        UserError, match=r"--task weather: not in .*run; found emt_cifar10, imagewikiqa_distractor, mme"
    ):
        find_work(run, ["weather"])
    with pytest.raises(UserError, match=r"no \*_samples_TASK\.jsonl with field 'judge_target'"):
        find_work(run, ["mme"])
    with pytest.raises(UserError, match=r"--task x: .* is a file of rows"):
        find_work(rows, ["x"])
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        find_work(tmp_path / "nowhere")


def test_a_broken_results_file_is_named(run, tmp_path):
    (run / "org__model" / f"{DATE}_results.json").write_text("[]")
    with pytest.raises(UserError, match=rf"{DATE}_results\.json: expected lmms-eval's results"):
        again(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
