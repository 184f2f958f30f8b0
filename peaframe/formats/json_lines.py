"""JSON lines: an event a line, nothing rounded and nothing lost; files that can be written bit by bit, and joined.

    {"format": "peaframe-events-lines", "version": 1, "meta": {"model": "peaframe-mini"}}
    {"filename": "street.wav", "onset": 1.2, "offset": 2.04, "event_label": "dog barking", "score": 0.91}
    {"filename": "quiet.wav", "duration": 60.0}

The first line is the head, which says how the events were made (`meta`). A line with a recording's name alone says
that it was heard; without other lines it has no events. It also has what `meta` says of this recording: its `duration`,
and `recorded`, when it was made; so it comes before the recording's events where either is known. Events of such a
recording have `time`, when their onset was, to the millisecond. `score` is null where nobody gave one.

A file grows by appending lines, and `cat a.jsonl b.jsonl` is a file, too: events of one recording need not stand
together, and a head may come again. Without a head any line that has the four columns will do, and unknown keys are
read over. pandas: `pandas.read_json(path, lines=True).dropna(subset=["onset"])` are the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.formats import moments, settings
from peaframe.formats.pieces import Pieces, Recording, general, joined
from peaframe.formats.text import EventsByFile

_FORMAT, _VERSION = "peaframe-events-lines", 1


class _Lines(Pieces):
    """The lines, recording by recording."""

    def head(self) -> str:
        return head(general(self.meta))

    def rows(self, recording: Recording) -> str:
        name, begun, about = recording.name, recording.begun, settings.of(recording)
        lines = [_line({"filename": name, **about})] if about or not recording.events else []
        for event in recording.events:
            time = {} if begun is None else {"time": moments.stamp(begun, event.onset)}
            lines.append(_line({**_cells(name, event), **time}))
        return "".join(lines)


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The lines, recording by recording, for those who write it as it grows."""
    return _Lines(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The head, then a line for each event and one for each recording that has none, or more to be said of it.

    Raises:
        FormatError: `meta` holds what JSON cannot, or a time in `recorded` that is none.
    """
    return joined(pieces(meta), events_by_file)


def head(meta: Mapping[str, Any]) -> str:
    """The first line of a file, for those who write one bit by bit.

    Raises:
        FormatError: `meta` holds what JSON cannot.
    """
    return _line({"format": _FORMAT, "version": _VERSION, "meta": dict(meta)})


def line(filename: str, event: Event | None = None) -> str:
    """The line of an event, or without one of a recording that was heard."""
    return _line({"filename": filename} if event is None else _cells(filename, event))


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: a line is not JSON, or neither an event, a recording nor a head; with file and line.
    """
    found: dict[str, list[Event]] = {}
    for where, row in _rows(text, source):
        if "format" in row and "filename" not in row:
            continue
        filename = row.get("filename")
        if not isinstance(filename, str):
            raise FormatError(f"{where}: got no filename, expected a text")
        events = found.setdefault(filename, [])
        if any(row.get(key) is not None for key in ("onset", "offset", "event_label", "score")):
            events.append(_event(row, where))
    return found


def meta(text: str, source: str) -> dict[str, Any]:
    """What the first head says of how the events were made, and lines without an event of their recordings.

    Raises:
        FormatError: as `loads`.
    """
    first: dict[str, Any] | None = None
    gathered = settings.Gathered()
    for _, row in _rows(text, source):
        if "format" in row and "filename" not in row:
            said = row.get("meta")
            first = first if first is not None else said if isinstance(said, dict) else {}
        elif isinstance(row.get("filename"), str) and row.get("onset") is None:
            gathered.note(row["filename"], row)
    return gathered.join(first or {})


def _cells(filename: str, event: Event) -> dict[str, Any]:
    times = {"onset": event.onset, "offset": event.offset}
    return {"filename": filename, **times, "event_label": event.label, "score": event.score}


def _line(cells: dict[str, Any]) -> str:
    return settings.as_json(cells) + "\n"


def _rows(text: str, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each line is, and what it holds; heads of other versions are refused."""
    for number, raw in enumerate(text.split("\n"), start=1):
        where = f"{source}:{number}"
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.removeprefix("\ufeff"))
        except (RecursionError, ValueError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise FormatError(f"{where}: not a line of JSON ({what}); repair the file") from error
        if not isinstance(row, dict):
            raise FormatError(f"{where}: got {type(row).__name__}, expected an object such as an event")
        if "format" in row and "filename" not in row:
            known = row["format"] == _FORMAT and not isinstance(row.get("version"), bool)
            if not known or row.get("version") != _VERSION:
                raise FormatError(
                    f"{where}: got the head {row['format']!r}, version {row.get('version')!r}, expected {_FORMAT!r}, "
                    f"version {_VERSION}"
                )
        yield where, row


def _event(row: Mapping[str, Any], where: str) -> Event:
    for name in ("onset", "offset", "score"):
        value = row.get(name)
        wanted = value is None if name == "score" else False
        if isinstance(value, bool) or not (wanted or isinstance(value, (int, float))):
            raise FormatError(f"{where}: got {name} {value!r}, expected a number")
    try:
        return Event(row["onset"], row["offset"], row.get("event_label", ""), row.get("score"))
    except (OptionError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from error
