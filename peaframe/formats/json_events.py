"""JSON events, nothing rounded and nothing lost.

    {"format": "peaframe-events", "version": 1, "meta": {"model": "peaframe-mini"},
     "files": [{"filename": "street.wav",
                "events": [{"onset": 1.2, "offset": 2.04, "event_label": "dog barking", "score": 0.91}]}]}

`score` is null where nobody gave one. `meta` is what the writer has to say about how they were made. Where `recorded`
in it says when a recording was made, each of its events has `time`, too: when its onset was, as ISO 8601, to the
millisecond; reading makes no use of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.formats import moments, settings
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, parsed

_FORMAT, _VERSION = "peaframe-events", 1


class _Document(Pieces):
    """The document, recording by recording; its head comes last, as that says the lengths and times of all."""

    spooled = True

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__(meta)
        self._each = settings.Gathered()

    def head(self) -> str:
        said = settings.as_json(self._each.join(self.meta))
        return f'{{\n  "format": "{_FORMAT}",\n  "version": {_VERSION},\n  "meta": {said},\n  "files": ['

    def rows(self, recording: Recording) -> str:
        begun = recording.begun
        settings.as_json(settings.of(recording))
        events = []
        for event in recording.events:
            time = "" if begun is None else f', "time": "{moments.stamp(begun, event.onset)}"'
            events.append(_event(event, time))
        comma = "," if self.count else ""
        return f'{comma}\n    {{"filename": {_text(recording.name)}, "events": [{_lines(events)}]}}'

    def passed(self, recording: Recording) -> None:
        super().passed(recording)
        self._each.note(recording.name, settings.of(recording))

    def tail(self) -> str:
        return "\n  ]\n}\n" if self.count else "]\n}\n"


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The document, recording by recording, for those who write it as it grows."""
    return _Document(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The document, indented, an event a line.

    Raises:
        FormatError: `meta` holds what JSON cannot, or a time in `recorded` that is none.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording; unknown keys are read over.

    Raises:
        FormatError: no JSON (with file and line), or not this document (with file and place).
    """
    document = parsed(text, source)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise FormatError(f'{source}:1: not peaframe\'s events; expected {{"format": "{_FORMAT}", ...}}')
    if document.get("version") != _VERSION or isinstance(document["version"], bool):
        raise FormatError(f"{source}:1: got version {document.get('version')!r}, expected {_VERSION}")
    found: dict[str, list[Event]] = {}
    for number, entry in enumerate(_list(document, "files", source)):
        where = f"{source}: files[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise FormatError(f"{where}: got no filename, expected a text")
        events = found.setdefault(entry["filename"], [])
        for index, item in enumerate(_list(entry, "events", where)):
            events.append(_event_of(item, f"{where}.events[{index}]"))
    return found


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _event(event: Event, time: str) -> str:
    score = "null" if event.score is None else repr(event.score)
    times = f'"onset": {event.onset!r}, "offset": {event.offset!r}'
    return f'      {{{times}, "event_label": {_text(event.label)}, "score": {score}{time}}}'


def _lines(items: list[str]) -> str:
    return "\n" + ",\n".join(items) + "\n    " if items else ""


def _list(values: Mapping[str, Any], key: str, where: str) -> list[Any]:
    items = values.get(key)
    if not isinstance(items, list):
        raise FormatError(f"{where}: got {type(items).__name__} for {key!r}, expected a list")
    return items


def _event_of(item: Any, where: str) -> Event:
    if not isinstance(item, dict):
        raise FormatError(f"{where}: got {item!r}, expected onset, offset, event_label, score")
    numbers = [item.get("onset"), item.get("offset"), item.get("score")]
    for value, name in zip(numbers, ("onset", "offset", "score"), strict=True):
        wanted = value is None if name == "score" else False
        if isinstance(value, bool) or not (wanted or isinstance(value, (int, float))):
            raise FormatError(f"{where}: got {name} {value!r}, expected a number")
    try:
        return Event(item["onset"], item["offset"], item.get("event_label", ""), item.get("score"))
    except (OptionError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from error
