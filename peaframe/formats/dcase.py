"""DCASE's tab-separated events: filename, onset, offset, event_label.

As in DCASE's own lists, a recording without events is a line with its name and three blank cells.
Source: DCASE 2019-2024 task 4 (DESED), `ground_truth.tsv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.events import Event
from peaframe.formats import delimited
from peaframe.formats.text import EventsByFile, require_one_line, times


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; scores and `meta` are left out.

    Raises:
        FormatError: a name or label with tabs or line breaks.
    """
    lines = [delimited.line(delimited.COLUMNS, "\t")]
    for filename, events in events_by_file.items():
        name = require_one_line(delimited.require_name(filename), "tsv")
        rows = [(name, *times(event, 3), require_one_line(event.label, "tsv")) for event in events]
        lines += [delimited.line(row, "\t") for row in rows or [(name, "", "", "")]]
    return "".join(lines)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording.

    Raises:
        FormatError: the text is no such table; with file and line.
    """
    return delimited.loads(text, source, "\t")
