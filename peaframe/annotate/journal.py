"""The journal of a run: what was planned, what is done, what was found; survives being killed at any moment.

It is one SQLite database, `journal.sqlite` in the run's output folder. All that a unit of work gave is one transaction,
on the disk before the next begins (`synchronous=FULL`), so after a crash or a power cut a unit is either done, with
its events, or as if it had never begun. While a run has it open nobody else can open it: that is the lock against a
second run, and it vanishes with the process. Everything else that a run writes is made from it.

    notes   name, value            what the run is (JSON)
    files   name, path, size ...   every recording, its fingerprint, its state
    parts   unit, file, frames     which stretch of which recording belongs to which unit of work
    events  file, onset, offset, query, score
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.records import COLUMNS, DONE, FAILED, PLANNED, File, Part, file_of
from peaframe.annotate.times import time_of
from peaframe.errors import FormatError, OptionError
from peaframe.events import Event

NAME = "journal.sqlite"
_VERSION = 1
_PAGE = 1000
_SCHEMA = """
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, size INTEGER, modified INTEGER, head TEXT,
    seconds REAL, recorded TEXT, state TEXT NOT NULL, reason TEXT, retry INTEGER NOT NULL DEFAULT 0,
    embedded INTEGER NOT NULL DEFAULT 0, tables TEXT NOT NULL DEFAULT '', seen INTEGER NOT NULL);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY, unit INTEGER NOT NULL, file INTEGER NOT NULL, first INTEGER NOT NULL, stop INTEGER,
    done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, onset REAL NOT NULL, offset REAL NOT NULL, query INTEGER NOT NULL,
    score REAL NOT NULL);
CREATE INDEX files_by_state ON files (state, name);
CREATE INDEX parts_by_unit ON parts (unit, id);
CREATE INDEX parts_by_file ON parts (file, first);
CREATE INDEX parts_to_do ON parts (unit) WHERE done = 0;
CREATE INDEX events_by_file ON events (file, id);
"""


class Journal:
    """An open journal; nobody else has it open."""

    def __init__(self, path: Path) -> None:
        """Open or make a journal.

        Raises:
            OptionError: another run has it open.
            FormatError: it is damaged, of another version, or cannot be written.
        """
        self.path = path
        try:
            self._base = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise FormatError(f"{path}: cannot be opened ({error}); check the folder") from error
        try:
            with self._errors():
                self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._base.execute("PRAGMA journal_mode = WAL")
                self._base.execute("PRAGMA synchronous = FULL")
                self._prepare()
        except BaseException:
            self._base.close()
            raise

    def close(self) -> None:
        """Let others have it."""
        self._base.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is on the disk afterwards, or nothing of it."""
        with self._errors():
            self._base.execute("BEGIN")
            try:
                yield
            except BaseException:
                if self._base.in_transaction:  # a full disk has ended it already
                    self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    # -- what the run is

    def note(self, name: str) -> Any:
        """What was noted under a name; None if nothing was."""
        row = self._one("SELECT value FROM notes WHERE name = ?", name)
        return None if row is None else json.loads(row[0])

    def set_note(self, name: str, value: Any) -> None:
        """Note something that JSON can hold."""
        self._do("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, json.dumps(value))

    def reset(self, keep_embeddings: bool) -> None:
        """Forget everything but, if asked for, where embeddings are kept."""
        with self.transaction():
            for table in ("notes", "parts", "events"):
                self._do(f"DELETE FROM {table}")
            if not keep_embeddings:
                self._do("DELETE FROM files")
            self._do("DELETE FROM files WHERE embedded = 0")
            self._do("UPDATE files SET state = ?, reason = NULL, tables = '', seen = 0", PLANNED)

    # -- planning

    def file(self, name: str) -> File | None:
        """The recording of a name."""
        row = self._one(f"SELECT {COLUMNS} FROM files WHERE name = ?", name)
        return None if row is None else file_of(row)

    def seen(self, id: int, path: str, turn: int) -> None:
        """The recording is still there, and as it was; some tables hold its path."""
        row = self._one("SELECT path FROM files WHERE id = ?", id)
        if row != (path,):
            self._changed()
            self._do("UPDATE files SET path = ?, tables = '' WHERE id = ?", path, id)
        self._do("UPDATE files SET seen = ? WHERE id = ?", turn, id)

    def add(self, values: Mapping[str, Any]) -> None:
        """Plan a recording anew (columns of `files`); what was known under its name is forgotten."""
        self._changed()
        if (known := self.file(values["name"])) is not None:
            self._do("DELETE FROM events WHERE file = ?", known.id)
            self._do("DELETE FROM parts WHERE file = ?", known.id)
            self._do("DELETE FROM files WHERE id = ?", known.id)
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self._do(f"INSERT INTO files ({columns}) VALUES ({marks})", *values.values())

    def plan_again(self, id: int, turn: int) -> None:
        """A recording that failed is to be heard once more."""
        self._changed()
        self._do("DELETE FROM parts WHERE file = ?", id)
        self._do("UPDATE files SET state = ?, reason = NULL, seen = ? WHERE id = ?", PLANNED, turn, id)

    def set_recorded(self, id: int, recorded: str | None) -> None:
        """When a recording was made, and its tables have to be written again."""
        self._changed()
        self._do("UPDATE files SET recorded = ?, tables = '' WHERE id = ?", recorded, id)

    def lose_unseen(self, turn: int, reason: str) -> tuple[int, int]:
        """Recordings that were planned and are gone have failed; those that had failed before are forgotten.

        Returns:
            How many that were done are gone, and how many that need not be there, for their embeddings are kept.
        """
        if self._one("SELECT 1 FROM files WHERE seen < ? AND state = ? LIMIT 1", turn, FAILED) is not None:
            self._changed()
            self._do("DELETE FROM files WHERE seen < ? AND state = ?", turn, FAILED)
        lost = "seen < ? AND state = ? AND embedded = 0"
        if self._one(f"SELECT 1 FROM files WHERE {lost} LIMIT 1", turn, PLANNED) is not None:
            self._changed()
        self._do(
            f"UPDATE parts SET done = 1 WHERE file IN (SELECT id FROM files WHERE {lost})", turn, PLANNED
        )
        self._do(
            f"UPDATE files SET state = ?, reason = ?, retry = 1 WHERE {lost}",
            *(FAILED, reason, turn, PLANNED),
        )
        gone = dict(self._all("SELECT state, count(*) FROM files WHERE seen < ? GROUP BY state", turn))
        return gone.get(DONE, 0), gone.get(PLANNED, 0)

    def unpacked(self) -> Iterator[File]:
        """Recordings that are planned and have no parts yet, by name."""
        return self._files(f"state = '{PLANNED}' AND NOT EXISTS (SELECT 1 FROM parts WHERE file = files.id)")

    def pack(self, units: Iterable[Sequence[Part]]) -> None:
        """Add units of work."""
        row = self._one("SELECT coalesce(max(unit), 0) FROM parts")
        number = 0 if row is None else int(row[0])
        for number, parts in enumerate(units, start=number + 1):  # noqa: B020
            self._base.executemany(
                "INSERT INTO parts (unit, file, first, stop) VALUES (?, ?, ?, ?)",
                [(number, part.file, part.first, part.stop) for part in parts],
            )

    # -- working

    def pending(self) -> Iterator[tuple[int, list[tuple[File, Part]]]]:
        """Units that are not done, in order: their numbers, and their parts with their recordings."""
        latest = 0
        while row := self._one(
            "SELECT min(unit) FROM parts INDEXED BY parts_to_do WHERE done = 0 AND unit > ?", latest
        ):
            if row[0] is None:
                return
            latest = int(row[0])
            columns = ", ".join(f"files.{name.strip()}" for name in COLUMNS.split(","))
            rows = self._all(
                f"SELECT first, stop, {columns} FROM parts JOIN files ON files.id = parts.file "
                "WHERE unit = ? AND state = ? ORDER BY parts.id",
                *(latest, PLANNED),
            )
            yield latest, [(file_of(row[2:]), Part(row[2], row[0], row[1])) for row in rows]

    def part_done(self, unit: int, part: Part, seconds: float | None) -> None:
        """A part was heard; the last one says how long its recording really is."""
        self._do(
            "UPDATE parts SET done = 1 WHERE unit = ? AND file = ? AND first = ?",
            *(unit, part.file, part.first),
        )
        if seconds is not None:
            self._do("UPDATE files SET seconds = ? WHERE id = ?", seconds, part.file)

    def parts(self, file: int) -> list[tuple[Part, bool]]:
        """All parts of a recording in order, and whether each is done."""
        rows = self._all("SELECT first, stop, done FROM parts WHERE file = ? ORDER BY first", file)
        return [(Part(file, first, stop), bool(done)) for first, stop, done in rows]

    def hear_again(self, file: int) -> None:
        """The parts of a recording are to be heard once more."""
        self._do("UPDATE parts SET done = 0 WHERE file = ?", file)

    def to_join(self, among: Iterable[int] | None = None) -> list[File]:
        """Recordings whose parts are all done and which are not; of all, which takes a look at each, or of some."""
        condition = (
            f"state = '{PLANNED}' AND EXISTS (SELECT 1 FROM parts WHERE file = files.id) "
            "AND NOT EXISTS (SELECT 1 FROM parts WHERE file = files.id AND done = 0)"
        )
        if among is None:
            return list(self._files(condition))
        statement = f"SELECT {COLUMNS} FROM files WHERE id = ? AND {condition}"
        return [file_of(row) for id in among for row in self._all(statement, id)]

    def file_done(self, id: int, seconds: float, events: Iterable[tuple[float, float, int, float]]) -> None:
        """A recording was heard to its end; events are (onset, offset, number of the query, score), in order."""
        self._changed()
        self._do("DELETE FROM events WHERE file = ?", id)
        self._base.executemany(
            "INSERT INTO events (file, onset, offset, query, score) VALUES (?, ?, ?, ?, ?)",
            ((id, *event) for event in events),
        )
        self._do("UPDATE files SET state = ?, seconds = ? WHERE id = ?", DONE, seconds, id)

    def file_failed(self, id: int, reason: str, retry: bool) -> None:
        """A recording could not be heard."""
        self._changed()
        self._do("UPDATE parts SET done = 1 WHERE file = ?", id)
        self._do(
            "UPDATE files SET state = ?, reason = ?, retry = ?, embedded = embedded AND NOT ? WHERE id = ?",
            *(FAILED, reason, int(retry), int(retry), id),
        )

    def embedded(self, id: int) -> None:
        """The embeddings of a recording are kept."""
        self._do("UPDATE files SET embedded = 1 WHERE id = ?", id)

    # -- what was found

    def counts(self) -> dict[str, tuple[int, float]]:
        """How many recordings are in each state, and their seconds."""
        rows = self._all("SELECT state, count(*), coalesce(sum(seconds), 0) FROM files GROUP BY state")
        return {state: (count, seconds) for state, count, seconds in rows}

    def seconds_left(self) -> float:
        """Seconds that are still to be heard, as far as recordings say how long they are."""
        row = self._one(
            "SELECT coalesce(sum(CASE WHEN stop IS NULL THEN max(0, seconds - first / 25.0) "
            "ELSE (stop - first) / 25.0 END), 0) "
            "FROM parts JOIN files ON files.id = parts.file WHERE done = 0 AND state = ?",
            PLANNED,
        )
        return 0.0 if row is None else float(row[0])

    def count_copied(self) -> int:
        """How many recordings that are done have nothing but their modification time to say when they were made."""
        row = self._one(
            f"""SELECT count(*) FROM files WHERE state = '{DONE}' AND recorded LIKE '%"source": "mtime"%'"""
        )
        return 0 if row is None else int(row[0])

    def count_events(self) -> int:
        """How many events there are."""
        row = self._one("SELECT count(*) FROM events")
        return 0 if row is None else int(row[0])

    def failures(self) -> Iterator[tuple[str, str]]:
        """Recordings that failed, by name, and why."""
        for page in self._pages("name, reason", f"state = '{FAILED}'"):
            yield from ((name, reason) for name, reason in page)

    def annotated(self, queries: Sequence[str], min_score: float = 0.0) -> Iterator[Annotated]:
        """Recordings that are done, by name, with their events of at least this score."""
        for file in self._files(f"state = '{DONE}'"):
            yield self._annotated(file, queries, min_score)

    def without_tables(
        self, wanted: str, queries: Sequence[str], min_score: float
    ) -> list[tuple[int, Annotated]]:
        """Some recordings that are done and whose tables are not the wanted ones, and their numbers."""
        rows = self._all(
            f"SELECT {COLUMNS} FROM files WHERE state = ? AND tables != ? ORDER BY id LIMIT ?",
            DONE,
            wanted,
            _PAGE,
        )
        return [(row[0], self._annotated(file_of(row), queries, min_score)) for row in rows]

    def tables_written(self, ids: Iterable[int], wanted: str) -> None:
        """Tables of recordings are as wanted."""
        self._base.executemany("UPDATE files SET tables = ? WHERE id = ?", ((wanted, id) for id in ids))

    def files(self) -> Iterator[File]:
        """All recordings, by name."""
        return self._files("1")

    # -- inside

    def _changed(self) -> None:
        """What people look at is no longer what it should be."""
        self._do("DELETE FROM notes WHERE name = 'views'")

    def _annotated(self, file: File, queries: Sequence[str], min_score: float) -> Annotated:
        rows = self._all(
            "SELECT onset, offset, query, score FROM events WHERE file = ? AND score >= ? ORDER BY id",
            *(file.id, min_score),
        )
        events = [Event(onset, offset, queries[query], score) for onset, offset, query, score in rows]
        return Annotated(file.name, file.path, file.seconds, time_of(file.recorded), events)

    def _files(self, condition: str) -> Iterator[File]:
        for page in self._pages(COLUMNS, condition):
            yield from map(file_of, page)

    def _pages(self, columns: str, condition: str) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of `files` by name; what is written meanwhile does no harm."""
        latest = ""
        while rows := self._all(
            f"SELECT name, {columns} FROM files WHERE name > ? AND ({condition}) ORDER BY name LIMIT ?",
            latest,
            _PAGE,
        ):
            latest = rows[-1][0]
            yield [row[1:] for row in rows]

    def _prepare(self) -> None:
        self._base.execute("BEGIN EXCLUSIVE")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._base.execute(statement)
            self._base.execute(f"PRAGMA user_version = {_VERSION}")
        self._base.execute("COMMIT")
        if version not in (0, _VERSION):
            raise FormatError(
                f"{self.path}: is of version {version}, expected {_VERSION}; go on with the peaframe that began it, "
                "or give another --output"
            )

    def _do(self, statement: str, *values: Any) -> None:
        with self._errors():
            self._base.execute(statement, values)

    def _one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        with self._errors():
            row: tuple[Any, ...] | None = self._base.execute(statement, values).fetchone()
        return row

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._base.execute(statement, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise OptionError(
                    f"{self.path.parent}: another run is at work in this folder; wait for it, or give another --output"
                ) from error
            if isinstance(error, sqlite3.OperationalError):
                raise FormatError(
                    f"{self.path}: cannot be written ({error}); make room, then give the same command again"
                ) from error
            raise FormatError(
                f"{self.path}: is damaged ({error}); begin again with another --output"
            ) from error
