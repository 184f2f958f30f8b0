"""Parquet: a table of events that pandas, Arrow, DuckDB and Spark read; nothing rounded and nothing lost.

Version 1 of the schema; an event a row:

| column | type | what |
|---|---|---|
| `filename` | string | the recording's name, as the user gave it |
| `onset`, `offset` | double | seconds from the recording's start |
| `event_label` | dictionary of strings | what is heard; pandas makes it a category |
| `score` | double | null where nobody gave one |
| `time` | timestamp (us, UTC) | when the onset was; null where the recording's time or zone is not known |
| `local_time` | timestamp (us) | what the clock at the recording showed then; null where that is not known |

The two times, at the right, are there if and only if `meta` has `recorded`, even an empty one; readers pass over them.
Their difference is the offset from UTC, so none is lost: `time` sorts and joins, `local_time` says the hour of the day,
across zones and changes of the clocks.

Recordings without events have no row, so that every row is an event. They are in the file's metadata, under the key
`peaframe`, as JSON: `{"format": "peaframe-events", "version": 1, "meta": {...}, "without_events": [[2, "quiet.wav"]]}`,
each with its place among all recordings.

Read are tables of others with these columns in any order and of any type that turns into these; `score` may be
missing. A row of theirs with a name and nothing else is a recording without events, a score that is NaN is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.events import Event
from peaframe.formats import moments, settings
from peaframe.formats.delimited import COLUMNS
from peaframe.formats.pieces import Recording, of_all
from peaframe.formats.streams import Sink
from peaframe.formats.text import EventsByFile

_FORMAT, _VERSION, _KEY = "peaframe-events", 1, b"peaframe"
_GROUP = 1 << 16  # rows


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> bytes:
    """The file.

    Raises:
        FormatError: `meta` holds what JSON cannot, a time in `recorded` that is none, or a name or label is no valid
            Unicode.
        MissingExtraError: pyarrow is not installed.
    """
    pa, _ = _arrow()
    silent = [(place, name) for place, (name, events) in enumerate(events_by_file.items()) if not events]
    stream = pa.BufferOutputStream()
    with _Rows(stream, meta, _said(meta, silent)) as rows:
        for recording in of_all(events_by_file, meta):
            rows.add(recording)
    data: bytes = stream.getvalue().to_pybytes()
    return data


@contextmanager
def sink(path: Path, meta: Mapping[str, Any]) -> Iterator[Sink]:
    """A file that takes recording after recording; whole when the block ends well.

    Raises:
        FormatError: as `dumps`.
        MissingExtraError: pyarrow is not installed.
    """
    _said(meta, [])  # before hours of work, not after
    with path.open("wb") as file, _Rows(file, meta) as rows:
        yield rows


class _Rows:
    """Rows on their way into a file, a group at a time; the metadata come last, unless they are known."""

    def __init__(self, file: Any, meta: Mapping[str, Any], said: bytes | None = None) -> None:
        pa, parquet = _arrow()
        self._timed = moments.timed(meta)
        times = [pa.field("time", pa.timestamp("us", "UTC")), pa.field("local_time", pa.timestamp("us"))]
        self._schema = pa.schema(
            [
                pa.field("filename", pa.string(), nullable=False),
                pa.field("onset", pa.float64(), nullable=False),
                pa.field("offset", pa.float64(), nullable=False),
                pa.field("event_label", pa.dictionary(pa.int32(), pa.string()), nullable=False),
                pa.field("score", pa.float64()),
                *(times if self._timed else []),
            ],
            metadata=None if said is None else {_KEY: said},
        )
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._meta, self._each = meta, settings.Gathered()
        self._late = said is None
        self._silent: list[tuple[int, str]] = []
        self._count = 0
        self._waiting: list[tuple[Any, ...]] = []

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush(1)
                if self._late:
                    said = _said(self._each.join(self._meta), self._silent)
                    self._writer.add_key_value_metadata({_KEY: said})
        finally:
            self._writer.close()

    def add(self, recording: Recording) -> None:
        """Take the rows of a recording; one that is refused leaves no trace."""
        begun, name = recording.begun, recording.name
        said = settings.of(recording)
        settings.as_json(said)
        for text in {name, *(event.label for event in recording.events)}:
            _require_unicode(text)
        rows: list[tuple[Any, ...]] = []
        for event in recording.events:
            row = (name, event.onset, event.offset, event.label, event.score)
            rows.append((*row, *moments.instants(begun, event.onset)) if self._timed else row)
        if not rows:
            self._silent.append((self._count, name))
        if self._late:
            self._each.note(name, said)
        self._count += 1
        self._waiting += rows
        self._flush(_GROUP)

    def _flush(self, least: int) -> None:
        """Write what waits, group by group, while there are at least so many rows."""
        pa, _ = _arrow()
        while len(self._waiting) >= least:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            columns = zip(*group, strict=True)
            arrays = [pa.array(cells, field.type) for cells, field in zip(columns, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _said(meta: Mapping[str, Any], silent: Sequence[tuple[int, str]]) -> bytes:
    about = {"format": _FORMAT, "version": _VERSION, "meta": dict(meta), "without_events": silent}
    try:
        return json.dumps(about, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise FormatError(f"meta cannot be written as JSON ({error}); use texts and numbers") from error


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{error.object!r} is not valid Unicode; rename the label or file") from error


def loads(data: bytes, source: str) -> dict[str, list[Event]]:
    """Events by recording, recordings in the order they were written in.

    Raises:
        FormatError: no Parquet, a column is missing, or a row is no event; with file and row.
        MissingExtraError: pyarrow is not installed.
    """
    table = _table(data, source)
    columns = [_column(table, name, source) for name in (*COLUMNS, "score")]
    found: dict[str, list[Event]] = {}
    for number, (filename, onset, offset, label, score) in enumerate(zip(*columns, strict=True), start=1):
        where = f"{source}: row {number}"
        if filename is None:
            raise FormatError(f"{where}: got no filename; name the recording")
        events = found.setdefault(filename, [])
        if onset is None and offset is None and label is None:
            continue
        try:
            events.append(Event(onset, offset, label, None if score != score else score))
        except OptionError as error:
            raise FormatError(f"{where}: {error}") from error
    silent = dict(_silent(_about(table, source), source))
    names = [name for name in found if name not in silent]
    for name, place in sorted(silent.items(), key=lambda item: item[1]):
        names.insert(place, name)
    return {name: found.get(name, []) for name in names}


def meta(data: bytes, source: str) -> dict[str, Any]:
    """What the file says of how the events were made; nothing in files of others.

    Raises:
        FormatError: no Parquet, or metadata of another version.
        MissingExtraError: pyarrow is not installed.
    """
    said = _about(_table(data, source), source).get("meta")
    return said if isinstance(said, dict) else {}


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet") from error
    return pyarrow, pyarrow.parquet


def _table(data: bytes, source: str) -> Any:
    pa, parquet = _arrow()
    try:
        # with threads, pyarrow up to 16 now and then aborts when the process ends
        table = parquet.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        table.column_names  # noqa: B018 - decodes them
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{source}: not Parquet that can be read ({_line(error)})") from error
    return table


def _column(table: Any, name: str, source: str) -> list[Any]:
    """The values of a column, as texts or as numbers."""
    pa, _ = _arrow()
    there = table.column_names.count(name)
    if there == 0 and name == "score":
        return [None] * len(table)
    if there != 1:
        problem = f"{there} columns {name}" if there else f"no column {name}"
        raise FormatError(
            f"{source}: got {problem} in {table.column_names}, expected {', '.join(COLUMNS)}[, score]"
        )
    column = table.column(name)
    wanted = pa.string() if name in ("filename", "event_label") else pa.float64()
    try:
        values: list[Any] = column.cast(wanted).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise FormatError(
            f"{source}: column {name} is {column.type}, expected {wanted} ({_line(error)})"
        ) from error
    return values


def _about(table: Any, source: str) -> dict[str, Any]:
    """What the file's metadata say under our key; nothing in files of others."""
    said = (table.schema.metadata or {}).get(_KEY)
    if said is None:
        return {}
    try:
        about = json.loads(said)
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{source}: its metadata are not JSON ({error}); write the file again") from error
    known = about if isinstance(about, dict) and about.get("format") == _FORMAT else {}
    version = known.get("version")
    if isinstance(version, bool) or version != _VERSION:
        raise FormatError(f"{source}: got events of version {version!r}, expected {_VERSION}")
    return known


def _silent(about: Mapping[str, Any], source: str) -> list[tuple[str, int]]:
    """Recordings without events, and their places among all."""
    listed = about.get("without_events", [])
    places: list[tuple[str, int]] = []
    for pair in listed if isinstance(listed, list) else [listed]:
        match pair:
            case [int(place), str(name)]:
                places.append((name, place))
            case _:
                raise FormatError(f"{source}: got {pair!r} in without_events, expected a place and a name")
    return places


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
