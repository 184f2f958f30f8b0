"""DCASE's tab-separated events: filename, onset, offset, event_label.

As in DCASE's own lists, a recording without events is a line with its name and three blank cells. DCASE's tools know no
other columns, so there is none for the time of day.
Source: DCASE 2019-2024 task 4 (DESED), `ground_truth.tsv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.events import Event
from peaframe.formats import delimited
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, require_one_line, times


class _Table(Pieces):
    """The table, recording by recording."""

    def head(self) -> str:
        return delimited.line(delimited.COLUMNS, "\t")

    def rows(self, recording: Recording) -> str:
        name = require_one_line(delimited.require_name(recording.name), "tsv")
        rows = [(name, *times(event, 3), require_one_line(event.label, "tsv")) for event in recording.events]
        return "".join(delimited.line(row, "\t") for row in rows or [(name, "", "", "")])


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The table, recording by recording, for those who write it as it grows."""
    return _Table(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; scores and `meta` are left out.

    Raises:
        FormatError: a name or label with tabs or line breaks.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: the text is no such table; with file and line.
    """
    return delimited.loads(text, source, "\t")
