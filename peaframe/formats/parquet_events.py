"""Parquet: a table of events that pandas, Arrow, DuckDB and Spark read; nothing rounded and nothing lost.

Version 1 of the schema; an event a row:

| column | type | what |
|---|---|---|
| `filename` | string | the recording's name, as the user gave it |
| `onset`, `offset` | double | seconds from the recording's start |
| `event_label` | dictionary of strings | what is heard; pandas makes it a category |
| `score` | double | null where nobody gave one |

Recordings without events have no row, so that every row is an event. They are in the file's metadata, under the key
`peaframe`, as JSON: `{"format": "peaframe-events", "version": 1, "meta": {...}, "without_events": [[2, "quiet.wav"]]}`,
each with its place among all recordings.

Read are tables of others with these columns in any order and of any type that turns into these; `score` may be
missing. A row of theirs with a name and nothing else is a recording without events, a score that is NaN is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.events import Event
from peaframe.formats.delimited import COLUMNS
from peaframe.formats.text import EventsByFile

_FORMAT, _VERSION, _KEY = "peaframe-events", 1, b"peaframe"


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> bytes:
    """The file.

    Raises:
        FormatError: `meta` holds what JSON cannot, or a name or label is no valid Unicode.
        MissingExtraError: pyarrow is not installed.
    """
    pa, parquet = _arrow()
    silent = [[place, name] for place, (name, events) in enumerate(events_by_file.items()) if not events]
    about = {"format": _FORMAT, "version": _VERSION, "meta": dict(meta), "without_events": silent}
    try:
        said = json.dumps(about, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise FormatError(f"meta cannot be written as JSON ({error}); use texts and numbers") from error
    schema = pa.schema(
        [
            pa.field("filename", pa.string(), nullable=False),
            pa.field("onset", pa.float64(), nullable=False),
            pa.field("offset", pa.float64(), nullable=False),
            pa.field("event_label", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("score", pa.float64()),
        ],
        metadata={_KEY: said},
    )
    rows = [(name, event) for name, events in events_by_file.items() for event in events]
    columns: list[list[Any]] = [
        [name for name, _ in rows],
        [event.onset for _, event in rows],
        [event.offset for _, event in rows],
        [event.label for _, event in rows],
        [event.score for _, event in rows],
    ]
    try:
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    except UnicodeEncodeError as error:
        raise FormatError(f"{error.object!r} is not valid Unicode; rename the label or file") from error
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


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
