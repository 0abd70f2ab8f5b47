"""What language models answered, kept on disk so that nothing is asked twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from emt_core.errors import UserError, one_line

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
        self._path = path
        self._lock = Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._mistake(error) from error
        try:
            self._execute("PRAGMA journal_mode=WAL")
            self._execute("PRAGMA synchronous=NORMAL")
            self._execute(_SCHEMA)
        except UserError:
            self.close()
            raise

    def get(self, key: str) -> str | None:
        """Return the answer kept under a key."""
        row = self._execute("SELECT answer FROM answers WHERE key = ?", key)
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str, *, model: str, prompt: str) -> None:
        """Keep an answer; `model` and `prompt` (the prompt's version) are for people who look into the file."""
        # SQLite stores only UTF-8.
        text = answer.encode("utf-8", "replace").decode()
        self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", key, model, prompt, text)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _execute(self, statement: str, *values: str) -> Any:
        """Run a statement and return its first row."""
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._mistake(error) from error

    def _mistake(self, error: Exception) -> UserError:
        """What is wrong with the file: full disk, no permission, not a database."""
        return UserError(
            f"judge cache {self._path}: {one_line(error)}; set EMT_JUDGE_CACHE to another file, or to 'off'"
        )
