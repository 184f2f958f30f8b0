"""SubRip subtitles (.srt): a numbered cue for each event, the label as its text; one recording, without its name.

    1
    00:00:00,040 --> 00:00:01,200
    dog barking

Times have 3 decimals; scores are lost, as players show all but number and times (`webvtt` keeps them). Cues come in the
order of their onsets. The format knows no way to write `<`, `>` and `&` plainly, which players may take for tags, so
they are written as in HTML (`&lt;`), which some players show as it stands.
Of others' files the lines of a cue become one; the tags b, i, u, s and font, `{...}` with a backslash, and coordinates
after the times are dropped. There is no standard; read and written is what SubRip and ffmpeg write.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.text import EventsByFile, event_of
from peaframe.formats.webvtt import blocks_of, cue, escaped, in_order, span, timing

_TAG = re.compile(r"</?(?:[bius]|font)(?:\s[^>]*)?>|\{\\[^}]*\}", re.IGNORECASE)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The cues of the one recording, none if there are no events; its name, scores and `meta` are left out.

    Raises:
        FormatError: several recordings, or a label with tabs or line breaks.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"srt holds one recording, got {len(events_by_file)}; write a file for each")
    events = [event for own in events_by_file.values() for event in in_order(own)]
    return "\n".join(
        f"{number}\n{timing(event, ',')}\n{_plain(event.label)}\n"
        for number, event in enumerate(events, start=1)
    )


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events, under the stem of `source` as the recording's name.

    Raises:
        FormatError: a cue has no text, no times or lasts none; with file and line.
    """
    events = []
    for first, lines in blocks_of(text):
        _, at, label = cue(lines, f"{source}:{first}")
        onset, offset, where = span(lines[at], f"{source}:{first + at}")
        events.append(event_of(onset, offset, html.unescape(_TAG.sub("", label)), "", where))
    return {PurePath(source).stem: events}


def _plain(label: str) -> str:
    """The label, safe from players and readers that look for tags."""
    return escaped(label, "srt").replace("{\\", "&#123;\\")
