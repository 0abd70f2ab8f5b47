"""The answer cache: what is written survives kill -9, and two processes can write at once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys

import pytest

from emt_core.errors import UserError
from judges.llm.cache import AnswerCache

WRITER = """
import sys
from judges.llm.cache import AnswerCache
cache = AnswerCache(sys.argv[1])
for number in range(int(sys.argv[3])):
    cache.put(f"{sys.argv[2]}-{number}", f"answer {number}", model="m", prompt="p")
    print(number, flush=True)
"""


def start_writer(path, name, count):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_keeps_what_it_is_given(tmp_path):
    cache = AnswerCache(tmp_path / "new" / "cache.sqlite")
    cache.put("k", "an answer, \ud800 and 数字", model="m", prompt="p")
    assert cache.get("k") == "an answer, ? and 数字"
    assert cache.get("other") is None
    cache.close()


def test_survives_kill_9_in_the_middle_of_writing(tmp_path):
    path = tmp_path / "cache.sqlite"
    writer = start_writer(path, "a", 1_000_000)
    acknowledged = [int(writer.stdout.readline()) for _ in range(50)][-1]
    writer.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()

    cache = AnswerCache(path)
    assert [n for n in range(acknowledged + 1) if cache.get(f"a-{n}") != f"answer {n}"] == []
    cache.put("after", "still writable", model="m", prompt="p")
    assert cache.get("after") == "still writable"
    cache.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_two_processes_write_at_once(tmp_path):
    path = tmp_path / "cache.sqlite"
    writers = [start_writer(path, name, 200) for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    cache = AnswerCache(path)
    assert all(cache.get(f"{name}-{n}") == f"answer {n}" for name in "ab" for n in range(200))
    cache.close()


def test_a_file_that_is_no_cache_is_the_users_mistake(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not a data base, and longer than a header of SQLite would be" * 10)
    with pytest.raises(UserError, match=r"judge cache .*notes\.txt.*EMT_JUDGE_CACHE"):
        AnswerCache(path)
