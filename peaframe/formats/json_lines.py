"""JSON lines: an event a line, nothing rounded and nothing lost; files that can be written bit by bit, and joined.

    {"format": "peaframe-events-lines", "version": 1, "meta": {"model": "peaframe-mini"}}
    {"filename": "street.wav", "onset": 1.2, "offset": 2.04, "event_label": "dog barking", "score": 0.91}
    {"filename": "quiet.wav"}

The first line is the head, which says how the events were made (`meta`). A line with a recording's name alone says
that it was heard; without other lines it has no events. `score` is null where nobody gave one.

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
from peaframe.formats.text import EventsByFile

_FORMAT, _VERSION = "peaframe-events-lines", 1


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The head, then a line for each event and one for each recording that has none.

    Raises:
        FormatError: `meta` holds what JSON cannot.
    """
    lines = [head(meta)]
    for filename, events in events_by_file.items():
        lines += [line(filename, event) for event in events] or [line(filename)]
    return "".join(lines)


def head(meta: Mapping[str, Any]) -> str:
    """The first line of a file, for those who write one bit by bit.

    Raises:
        FormatError: `meta` holds what JSON cannot.
    """
    document = {"format": _FORMAT, "version": _VERSION, "meta": dict(meta)}
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise FormatError(f"meta cannot be written as JSON ({error}); use texts and numbers") from error


def line(filename: str, event: Event | None = None) -> str:
    """The line of an event, or without one of a recording that was heard."""
    cells: dict[str, Any] = {"filename": filename}
    if event is not None:
        cells |= {"onset": event.onset, "offset": event.offset, "event_label": event.label}
        cells["score"] = event.score
    return json.dumps(cells, ensure_ascii=False) + "\n"


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
    """What the first head says of how the events were made; nothing where there is none.

    Raises:
        FormatError: as `loads`.
    """
    for _, row in _rows(text, source):
        if "format" in row and "filename" not in row:
            said = row.get("meta")
            return said if isinstance(said, dict) else {}
    return {}


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
