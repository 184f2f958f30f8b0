"""Answers that were given once and are kept: by the clip's content, the part that answered, and what it was asked."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError

_WAIT_SECONDS = 60.0


def key(identity: str, clip: str, *asked: str) -> str:
    """What an answer is kept under: 64 hex digits.

    Args:
        identity: of the part that answers.
        clip: digest of the clip's content.
        asked: the prompt, or the caption to score; nothing for a captioner.
    """
    return hashlib.sha256(json.dumps([identity, clip, *asked]).encode()).hexdigest()


class Answers:
    """A file of answers; several processes of one machine may use it at the same time."""

    def __init__(self, path: str | Path) -> None:
        """Open a file, or make it.

        Raises:
            FormatError: it cannot be written, or is no file of answers.
        """
        self.path = Path(path)
        try:
            self._base = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)"
            )
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def get(self, keys: Sequence[str]) -> list[Any]:
        """What is kept under each key; None where nothing is."""
        found = []
        try:
            for one in keys:
                row = self._base.execute("SELECT answer FROM answers WHERE key = ?", (one,)).fetchone()
                found.append(None if row is None else json.loads(row[0]))
        except (sqlite3.DatabaseError, ValueError) as error:
            raise self._error(error) from error
        return found

    def put(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """Keep (key, answer) pairs, all or none; an answer is anything JSON can hold but null."""
        rows = [(one, json.dumps(answer, ensure_ascii=False)) for one, answer in pairs]
        try:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
            self._base.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> FormatError:
        return FormatError(
            f"{self.path}: cannot be used to keep answers ({error}); make room, or remove it and begin again"
        )
