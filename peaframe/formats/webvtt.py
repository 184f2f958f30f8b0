"""WebVTT, subtitles of the web: a cue for each event, the label as its text, its score where players do not show it.

    WEBVTT

    NOTE recording: street.wav

    1 score=0.9100
    00:00:00.040 --> 00:00:01.200
    dog barking

Times have 3 decimals, scores have 4, in the cue's identifier. Cues come in the order of their onsets, as the format
asks. `&`, `<` and `>` of labels and names are written as `&amp;`, `&lt;` and `&gt;`. One recording, its name in a note.
Where `meta["recorded"]` says when it was made, so does a second note, which is not read: `NOTE recorded:
2024-06-01T04:00:00.000+02:00 (guano, Europe/Berlin)`.

Of others' files the lines of a cue become one, tags such as `<v Ann>` and settings of cues are dropped, and styles,
regions and notes are read over. Source: W3C, WebVTT: The Web Video Text Tracks Format.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import moments
from peaframe.formats.delimited import require_name
from peaframe.formats.pieces import of_all
from peaframe.formats.text import EventsByFile, event_of, require_one_line, times

_NOTE, _RECORDED = "NOTE recording: ", "NOTE recorded: "
_SCORE = re.compile(r"(?:^|\s)score=(\S+)$")
_TIME = re.compile(r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})[.,](\d{3})", re.ASCII)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The cues of the one recording; of `meta` only `recorded` counts.

    Raises:
        FormatError: several recordings, a label or name with tabs or line breaks, or a time in `recorded` that is none.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"webvtt holds one recording, got {len(events_by_file)}; write a file for each")
    blocks = ["WEBVTT\n"]
    for recording in of_all(events_by_file, meta):
        blocks.append(_NOTE + escaped(require_name(recording.name), "webvtt") + "\n")
        if recording.begun is not None:
            said = moments.sentence(recording.begun)
            blocks.append(_RECORDED + escaped(said, "webvtt") + "\n")
        for number, event in enumerate(in_order(recording.events), start=1):
            score = "" if event.score is None else f" score={event.score:.4f}"
            blocks.append(f"{number}{score}\n{timing(event, '.')}\n{escaped(event.label, 'webvtt')}\n")
    return "\n".join(blocks)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events by the name in the note, or under the stem of `source` where there is none.

    Raises:
        FormatError: the first line is not `WEBVTT`, or a cue has no text, no times or lasts none; with file and line.
    """
    blocks = list(blocks_of(text))
    if not blocks or not re.match(r"WEBVTT(?:[ \t]|$)", blocks[0][1][0]) or blocks[0][0] != 1:
        raise FormatError(f"{source}:1: not WebVTT; expected WEBVTT in the first line")
    name, events = PurePath(source).stem, []
    for first, lines in blocks[1:]:
        if lines[0].startswith(_NOTE) and lines[0][len(_NOTE) :].strip():
            name = html.unescape(lines[0][len(_NOTE) :])
        if re.match(r"(?:NOTE|STYLE|REGION)(?:\s|$)", lines[0]) and "-->" not in lines[0]:
            continue
        identifier, at, label = cue(lines, f"{source}:{first}")
        found = _SCORE.search(identifier)
        onset, offset, where = span(lines[at], f"{source}:{first + at}")
        events.append(
            event_of(onset, offset, html.unescape(_untagged(label)), found[1] if found else "", where)
        )
    return {name: events}


def in_order(events: Sequence[Event]) -> list[Event]:
    """The events in the order of their onsets, as they will be written."""
    return sorted(events, key=lambda event: float(times(event, 3)[0]))


def timing(event: Event, point: str) -> str:
    """A cue's line of times, hours first, with `point` before the milliseconds."""
    clock = []
    for cell in times(event, 3):
        seconds, milliseconds = cell.split(".")
        minutes, hours = int(seconds) // 60 % 60, int(seconds) // 3600
        clock.append(f"{hours:02d}:{minutes:02d}:{int(seconds) % 60:02d}{point}{milliseconds}")
    return " --> ".join(clock)


def escaped(text: str, format: str) -> str:
    """A text as a cue has it.

    Raises:
        FormatError: it has tabs or line breaks.
    """
    return html.escape(require_one_line(text, format), quote=False)


def blocks_of(text: str) -> list[tuple[int, list[str]]]:
    """What empty lines part: (number of the first line, lines)."""
    blocks: list[tuple[int, list[str]]] = []
    fresh = True
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if not line.strip():
            fresh = True
        elif fresh:
            blocks.append((number, [line]))
            fresh = False
        else:
            blocks[-1][1].append(line)
    return blocks


def cue(lines: Sequence[str], where: str) -> tuple[str, int, str]:
    """A cue's identifier ("" if none), the place of its line of times, and its text in one line.

    Raises:
        FormatError: neither the first nor the second line has times.
    """
    at = next((place for place, line in enumerate(lines[:2]) if "-->" in line), None)
    if at is None:
        raise FormatError(
            f"{where}: got {lines[0]!r}, expected a cue: 00:00:01.000 --> 00:00:02.000, then its text"
        )
    return (lines[0] if at else ""), at, " ".join(lines[at + 1 :])


def span(line: str, where: str) -> tuple[str, str, str]:
    """Onset and offset of a line of times, in seconds as texts, and the place again.

    Raises:
        FormatError: they are none.
    """
    onset, _, rest = line.partition("-->")
    cells = [onset.strip(), *rest.split()[:1]]
    found = [_TIME.fullmatch(cell) for cell in cells]
    if len(found) != 2 or not all(found):
        raise FormatError(f"{where}: got the times {line!r}, expected 00:00:01.000 --> 00:00:02.000")
    seconds = []
    for match in found:
        hours, minutes, whole, milliseconds = match.groups() if match else ("", "0", "0", "0")
        seconds.append(f"{int(hours or 0) * 3600 + int(minutes) * 60 + int(whole)}.{milliseconds}")
    return seconds[0], seconds[1], where


def _untagged(label: str) -> str:
    return re.sub(r"<[^>]*>", "", label)
