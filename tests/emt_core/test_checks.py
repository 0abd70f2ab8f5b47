"""What a check says of itself while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emt_core.checks import RECORD, CheckRecord, is_running, read_record, record_verdicts, recording

MODELS, DOCUMENTS = {"base": "org/base", "candidate": "my <b>model</b>"}, {"imagewikiqa": 1000}


def test_a_check_says_what_it_is_about_and_that_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "check"
    assert (read_record(folder), is_running(folder)) == (None, False)
    with recording(folder, MODELS, DOCUMENTS):
        assert read_record(folder) == CheckRecord(MODELS, DOCUMENTS, {})
        assert is_running(folder)
        with recording(folder, MODELS, DOCUMENTS):
            assert is_running(folder)
        assert is_running(folder)
        record_verdicts(folder, {"candidate": {"verdict": "forgetting"}})
    assert not is_running(folder)
    assert read_record(folder) == CheckRecord(MODELS, DOCUMENTS, {"candidate": {"verdict": "forgetting"}})
    with recording(folder, MODELS, {}):
        assert read_record(folder) == CheckRecord(
            MODELS, {}, {}
        )  # what an earlier check said is no verdict of this one


def test_a_check_that_was_killed_does_not_run(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from emt_core.checks import recording
with recording(pathlib.Path({str(tmp_path)!r}), {{}}, {{}}):
    print("runs", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"runs\n"
        assert is_running(tmp_path)
        process.kill()
        process.wait()
    assert not is_running(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"models": {}}', '{"models": 1, "documents": {}, "verdicts": {}}', "[" * 100_000]
)
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path) is None
