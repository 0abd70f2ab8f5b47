"""Broken runs at the gate: a verdict, or a failure told in one line; never a crash, never 0 or 1 without a verdict.

EMT_FUZZ_EXAMPLES=20000 runs for long, with new examples each time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emt_tasks.commands.app import main
from tests.support.mutations import DEEP, break_file
from tests.support.synthetic_runs import STAMP, judged_sample, write_run

EXAMPLES = int(os.environ.get("EMT_FUZZ_EXAMPLES", "0"))
N = 220
"""Documents of a task: more than the reader looks at before it decides how a task logs."""


def write_pair(folder: Path) -> Path:
    """Two runs of one of our tasks and of one that is not ours, which pass the gate."""
    for name in ("base", "candidate"):
        ours = [judged_sample(i, "incorrect" if i == 7 else "correct", cluster=f"c{i}") for i in range(N)]
        other = [
            {"doc_id": i, "target": "a", "filtered_resps": ["a"], "input": "q", "exact": {"score": 1, "id": "x"}}
            | ({"first": 1.0} if i % 2 else {"second": 0.5})
            for i in range(N)
        ]
        write_run(
            folder / name,
            {"flowers102": ours, "other": other},
            other={"metrics": ("first", "exact", "second")},
            groups={"both": ["flowers102", "other"], "other": []},
            name=name,
        )
    return folder


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pristine"))


def run_gate(folder: Path, *options: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["gate", str(folder / "base"), str(folder / "candidate"), *options])
    return code, out.getvalue(), err.getvalue()


def check(folder: Path, done: Sequence[str], *options: str) -> int:
    """Put the runs through the gate and check that it keeps its promise."""
    code, out, err = run_gate(folder, *options)
    told = f"{done}\n{code}\n{out[-500:]}\n{err}"
    assert code in (0, 1, 2), told
    if out and "--json" in options:
        data = json.loads(out)
        assert (data["exit_code"], data["verdict"]) == (code, ["not inferior", "forgetting", "undecided"][code]), told
        assert {unit["outcome"] for unit in data["units"]} >= {data["verdict"]}, told
        assert {unit["name"] for unit in data["units"]} >= {task["task"] for task in data["tasks"]}, told
    elif out:
        assert ["PASS: ", "FAIL: ", "UNDECIDED: "][code] in out, told
    else:
        assert code == 2, told
        assert err.startswith("emt: "), told
        assert err.count("\n") == 1, told
    return code


def test_the_untouched_runs_pass(pristine: Path) -> None:
    assert check(pristine, [], "--json") == 0
    assert check(pristine, []) == 0


@settings(
    max_examples=EXAMPLES or 200,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(seed=st.integers(0, 2**40), changes=st.integers(1, 3), table=st.booleans())
def test_broken_files_give_a_verdict_or_one_line(pristine: Path, seed: int, changes: int, table: bool) -> None:
    rng = random.Random(seed)
    folder = pristine.parent / "broken"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    files = sorted(folder.rglob("*.json*"))
    done = [break_file(rng.choice(files), rng) for _ in range(changes)]
    check(folder, done, *(() if table else ("--json",)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"configs": {"flowers102": "str"}}, "configs.flowers102: input should be a valid dictionary"),
        ({"versions": []}, "versions: input should be a valid dictionary"),
        ({"config": "str"}, "config: input should be a valid dictionary"),
        ({"results": {"flowers102": None}}, "results.flowers102: input should be a valid dictionary, found None"),
        ({"configs": {"flowers102": {"metadata": "1"}}}, "configs.flowers102.metadata"),
        ({"n-samples": {"flowers102": {"effective": "9"}}}, "n-samples.flowers102.effective: input should be a valid"),
        ({"group_subtasks": {"x": 1}}, "group_subtasks.x: input should be a valid list, found 1"),
        ({"higher_is_better": {"other": {"exact": "yes"}}}, "higher_is_better.other.exact: input should be a valid"),
        ({"config": {"limit": "8"}}, "config.limit: input should be a valid number, found '8'"),
        ({"results": {"a/../b": {}}}, "results.a/../b"),
    ],
)  # fmt: skip
def test_a_results_file_of_wrong_types_is_told(pristine: Path, tmp_path: Path, fields: dict, said: str) -> None:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "candidate" / "candidate" / f"{STAMP}_results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    code, out, err = run_gate(tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith(f"emt: {file}: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", [f"{STAMP}_results.json", f"{STAMP}_samples_flowers102.jsonl"])
def test_json_nested_5000_deep_is_told(pristine: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "candidate" / "candidate" / name
    text = file.read_text()
    for field in ('"configs"', '"target"'):
        text = text.replace(field, f'"deep": {DEEP}, {field}', 1)
    file.write_text(text)
    code, out, err = run_gate(tmp_path)
    assert (code, out) == (2, "")
    assert "nested too deeply" in err
    assert str(file) in err


def test_a_verdict_that_turns_into_text_late_is_told(pristine: Path, tmp_path: Path) -> None:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "candidate" / "candidate" / f"{STAMP}_samples_flowers102.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[210]["verdict"] = "correct"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run_gate(tmp_path)
    assert (code, out) == (2, "")
    assert f"{file}: the verdict of doc_id 210 has no category, expected one of correct, incorrect" in err
