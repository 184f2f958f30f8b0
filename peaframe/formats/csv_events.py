"""Comma-separated events, version 2 of the schema: an event a line, columns found by their names.

| column | what |
|---|---|
| `filename` | the recording's name, as the user gave it; never blank |
| `onset`, `offset` | seconds from the recording's start, 3 decimals; 0 <= onset < offset |
| `event_label` | what is heard |
| `score` | 4 decimals; blank where nobody gave one |

Version 2: a recording without events is a line with its name and blank cells, as in DCASE's lists. pandas reads such
a line as NaN in all columns but the first: `table.dropna(subset=["onset"])` are the events. Version 1 left such
recordings out and is read as before; the columns are the same ones. Versions to come may add columns at the right.

UTF-8, a header line, cells quoted as RFC 4180 says, lines ended by a line feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.events import Event
from peaframe.formats import delimited
from peaframe.formats.text import EventsByFile, times

COLUMNS = (*delimited.COLUMNS, "score")


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; `meta` is left out.

    Raises:
        FormatError: a name or label with a null character, or a blank name.
    """
    lines = [delimited.line(COLUMNS, ",")]
    for filename, events in events_by_file.items():
        delimited.require_name(filename)
        rows = [
            (filename, *times(event, 3), event.label, "" if event.score is None else f"{event.score:.4f}")
            for event in events
        ]
        lines += [delimited.line(row, ",") for row in rows or [(filename, "", "", "", "")]]
    return "".join(lines)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: the text is no such table; with file and line.
    """
    return delimited.loads(text, source, ",")
