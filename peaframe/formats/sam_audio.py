"""Anchors for SAM Audio, which parts a described sound from the rest: when it is heard, by recording and query.

    [{"audio": "street.wav", "description": "dog barking", "anchors": [["+", 0.04, 1.2], ["+", 5.0, 5.9]]}]

SAM Audio has no file of its own; each entry holds what its processor takes for one item of a batch:

    processor(audios=[entry["audio"]], descriptions=[entry["description"]], anchors=[entry["anchors"]])

Entries come by recording, then in the order in which queries begin; times are in seconds, as they are, nothing rounded.
Scores and `meta` are lost. A recording without events has an entry with no anchors and a blank description: pass
over it. SAM Audio was trained on short phrases in lower case ("man speaking"); queries are written as they are.

Read back are anchors with "+". Those with "-" say where a sound is not, and are read over.
Source: github.com/facebookresearch/sam-audio, README, "Span Prompting".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.delimited import require_name
from peaframe.formats.label_studio import event_from
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, parsed

_ENTRY = '{"audio": name, "description": query, "anchors": [["+", start, end], ...]}'


class _Entries(Pieces):
    """The list of entries, recording by recording."""

    def rows(self, recording: Recording) -> str:
        queries: dict[str, list[list[Any]]] = {}
        for event in sorted(recording.events):
            queries.setdefault(event.label, []).append(["+", event.onset, event.offset])
        name = require_name(recording.name)
        entries = [
            json.dumps({"audio": name, "description": query, "anchors": anchors}, ensure_ascii=False)
            for query, anchors in (queries or {"": []}).items()
        ]
        return (",\n" if self.count else "[\n") + ",\n".join(entries)

    def tail(self) -> str:
        return "\n]\n" if self.count else "[]\n"


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The list of entries, recording by recording, for those who write it as it grows."""
    return _Entries(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The list of entries, one a line.

    Raises:
        FormatError: a blank name.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording, sorted.

    Raises:
        FormatError: no JSON (with file and line), or an entry or anchor that is none (with file and place).
    """
    entries = parsed(text, source)
    if not isinstance(entries, list):
        raise FormatError(f"{source}:1: not SAM Audio's anchors; expected a list of {_ENTRY}")
    found: dict[str, list[Event]] = {}
    for number, entry in enumerate(entries):
        where = f"{source}: [{number}]"
        name, query, anchors = (
            entry.get(key) if isinstance(entry, dict) else None for key in ("audio", "description", "anchors")
        )
        if not (
            isinstance(name, str) and name.strip() and isinstance(query, str) and isinstance(anchors, list)
        ):
            raise FormatError(f"{where}: got {type(entry).__name__} without these, expected {_ENTRY}")
        found.setdefault(name, []).extend(_events(query, anchors, where))
    return {name: sorted(events) for name, events in found.items()}


def _events(query: str, anchors: list[Any], where: str) -> Iterator[Event]:
    for index, anchor in enumerate(anchors):
        place = f"{where}.anchors[{index}]"
        if not isinstance(anchor, list) or len(anchor) != 3 or anchor[0] not in ("+", "-"):
            raise FormatError(f'{place}: got {anchor!r}, expected ["+", start, end]')
        event = event_from(anchor[1], anchor[2], query, None, place)
        if anchor[0] == "+":
            yield event
