"""Comma-separated events: filename, onset, offset, event_label, score; an event a line and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.events import Event
from peaframe.formats import delimited
from peaframe.formats.text import EventsByFile, times


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; `meta` and recordings without events are left out.

    Raises:
        FormatError: a name or label with a null character, or a blank name.
    """
    lines = [delimited.line((*delimited.COLUMNS, "score"), ",")]
    for filename, events in events_by_file.items():
        delimited.require_name(filename)
        for event in events:
            score = "" if event.score is None else f"{event.score:.4f}"
            lines.append(delimited.line((filename, *times(event, 3), event.label, score), ","))
    return "".join(lines)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: the text is no such table; with file and line.
    """
    return delimited.loads(text, source, ",")
