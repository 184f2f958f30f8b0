r"""Audacity's label track: start, end and label, separated by tabs; one recording, without its name.

The second line that spectral labels have (`\`, lowest, highest frequency) is read over.
Source: https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.text import EventsByFile, event_of, require_one_line, times


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The label track of the one recording; its name, scores and `meta` are left out.

    Raises:
        FormatError: several recordings, or a label with tabs or line breaks.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"audacity holds one recording, got {len(events_by_file)}; write a file for each")
    rows = [
        (*times(event, 6), require_one_line(event.label, "audacity"))
        for events in events_by_file.values()
        for event in events
    ]
    return "".join("\t".join(row) + "\n" for row in rows)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events, under the stem of `source` as the recording's name.

    Raises:
        FormatError: a line is not start, end and label, or lasts no time; with file and line.
    """
    events: list[Event] = []
    for number, row in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        cells = row.split("\t")
        if not row.strip() or (cells[0] == "\\" and events):
            continue
        if len(cells) != 3:
            raise FormatError(f"{source}:{number}: got {len(cells)} cells, expected start, end, label")
        events.append(event_of(cells[0], cells[1], cells[2], "", f"{source}:{number}"))
    return {PurePath(source).stem: events}
