"""What language models answered, kept on disk so that nothing is asked twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Lock

from judges.errors import UserError, one_line

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, answer TEXT NOT NULL
) WITHOUT ROWID
"""


class AnswerCache:
    """Answers by key, in an SQLite file with a write-ahead log.

    Each answer is one transaction: a process killed at any moment loses at most the answer it was writing, and
    processes that share the file wait for each other. Safe to share between threads; after a fork, the child must
    open its own.
    """

    def __init__(self, path: str | Path) -> None:
        self._lock = Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"judge cache {path}: {one_line(error)}; choose another file by EMT_JUDGE_CACHE, or 'off'"
            ) from error

    def get(self, key: str) -> str | None:
        """Return the answer kept under a key."""
        with self._lock:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str, *, model: str, prompt: str) -> None:
        """Keep an answer; `model` and `prompt` (the prompt's version) are for people who look into the file."""
        # SQLite holds UTF-8 only.
        text = answer.encode("utf-8", "replace").decode()
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, model, prompt, text))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
