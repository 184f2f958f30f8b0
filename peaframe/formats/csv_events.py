"""Comma-separated events, version 3 of the schema: an event a line, columns found by their names.

| column | what |
|---|---|
| `filename` | the recording's name, as the user gave it; never blank |
| `onset`, `offset` | seconds from the recording's start, 3 decimals; 0 <= onset < offset |
| `event_label` | what is heard |
| `score` | 4 decimals; blank where nobody gave one |
| `time` | when the onset was, if known: ISO 8601 to the millisecond, with an offset where the zone is known |

A recording without events is a line with its name and blank cells, as in DCASE's lists. pandas reads such a line as
NaN in all columns but the first: `table.dropna(subset=["onset"])` are the events.

The column `time` (version 3) is there if and only if `meta` has `recorded`, even an empty one; in it a cell is blank
where a recording's time is not known. Without it the table is version 2, byte for byte. Version 1 left recordings
without events out. All are read alike; times are read over. Versions to come may add columns at the right.

UTF-8, a header line, cells quoted as RFC 4180 says, lines ended by a line feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.events import Event
from peaframe.formats import delimited, moments
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, times

COLUMNS = (*delimited.COLUMNS, "score")


class _Table(Pieces):
    """The table, recording by recording."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__(meta)
        self._timed = moments.timed(meta)

    def head(self) -> str:
        return delimited.line((*COLUMNS, "time") if self._timed else COLUMNS, ",")

    def rows(self, recording: Recording) -> str:
        name, begun = delimited.require_name(recording.name), recording.begun
        rows: list[tuple[str, ...]] = []
        for event in recording.events:
            onset, offset = times(event, 3)
            score = "" if event.score is None else f"{event.score:.4f}"
            time = "" if begun is None else moments.stamp(begun, float(onset))
            rows.append((name, onset, offset, event.label, score, *([time] if self._timed else [])))
        blank = ("",) * (len(COLUMNS) - 1 + self._timed)
        return "".join(delimited.line(row, ",") for row in rows or [(name, *blank)])


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The table, recording by recording, for those who write it as it grows."""
    return _Table(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; of `meta` only `recorded` counts.

    Raises:
        FormatError: a name or label with a null character, a blank name, or a time in `recorded` that is none.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: the text is no such table; with file and line.
    """
    return delimited.loads(text, source, ",")
