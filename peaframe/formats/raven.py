"""Raven's selection tables: tab-separated, without quotes, a selection a line; of one recording or of several.

Raven counts `Begin Time (s)` over all recordings of a table, one after the other, and `File Offset (s)` from the start
of the recording that `Begin File` names. So the offset counts where a table has it, and writing several recordings
takes their lengths: `meta["durations"]`, seconds by name, in the order the recordings have. What is written fills
the band up to 24 kHz.

A selection that Raven lists once for each view or channel is one event. Its label is in the column `Annotation`, or in
another of `LABELS`; its score in `Score` or `Confidence`.

Source: Raven Pro 1.4 User's Manual, chapters 6 and 7 (Cornell Lab of Ornithology, 2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath, PureWindowsPath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.delimited import require_name
from peaframe.formats.text import EventsByFile, event_of, require_one_line, times

BEGIN, END, PATH, FILE, INSIDE = (
    "begin time (s)",
    "end time (s)",
    "begin path",
    "begin file",
    "file offset (s)",
)
LABELS = (
    "annotation",
    "label",
    "tag",
    "tags",
    "class",
    "common name",
    "species",
    "sound type",
    "event_label",
)
SCORES = ("score", "confidence")
HEADER = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", "Begin File", "File Offset (s)", "Annotation", "Score"),
)
_BAND = ("0.0", "24000.0")
_LONGEST = 1e9  # seconds; so that microseconds stay exact


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; recordings without events take their time in it and no line; `meta` is left out.

    Raises:
        FormatError: a label or name with tabs or line breaks; several recordings without their `durations`, or with
            an event that ends after its recording does.
    """
    lines = ["\t".join(HEADER)]
    lengths = _lengths(events_by_file, meta)
    begun, number = 0.0, 0
    for filename, events in events_by_file.items():
        name = require_one_line(require_name(filename), "raven")
        for event in events:
            if event.offset > lengths.get(filename, event.offset) + 5e-7:
                raise FormatError(
                    f"{filename}: got an event until {event.offset} s in a recording of {lengths[filename]} s; "
                    "give its right length"
                )
            number += 1
            begin = begun + event.onset
            moved = Event(begin, max(begun + event.offset, begin + 1e-6), event.label)
            inside, score = times(event, 6)[0], "" if event.score is None else f"{event.score:.4f}"
            where = (name, PurePath(name).name, inside, require_one_line(event.label, "raven"), score)
            lines.append("\t".join((str(number), "Spectrogram 1", "1", *times(moved, 6), *_BAND, *where)))
        begun += lengths.get(filename, 0.0)
    return "\n".join(lines) + "\n"


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording; where the table names none, as one without events, under the stem of `source`.

    Raises:
        FormatError: a column is missing, a line is no selection, or several recordings come without `File Offset
            (s)`; with file and line.
    """
    found: dict[str, list[Event]] = {}
    seen: set[tuple[object, ...]] = set()
    columns: list[str] | None = None
    label = ""
    for number, row in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        where = f"{source}:{number}"
        cells = row.split("\t")
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns, label = _header(cells, where)
            continue
        if len(cells) > len(columns):
            raise FormatError(f"{where}: got {len(cells)} cells, expected {len(columns)} as in the header")
        cells += [""] * (len(columns) - len(cells))  # Raven and spreadsheets leave out blanks at a line's end
        values = dict(zip(columns, cells, strict=True))
        name = _name(values) or _stem(source)
        event = _event(values, label, where)
        if name not in found and found and not values.get(INSIDE, "").strip():
            raise FormatError(
                f"{where}: got a second recording, {name!r}, expected a File Offset (s) with it, as Begin Time (s) "
                "counts over all recordings"
            )
        key = (values.get("selection", "").strip() or number, name, event)
        if key not in seen:
            seen.add(key)
            found.setdefault(name, []).append(event)
    if columns is None:
        raise FormatError(f"{source}:1: got an empty file, expected a header {', '.join(HEADER)}")
    return found or {_stem(source): []}


def _lengths(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> dict[str, float]:
    given = meta.get("durations")
    known = given if isinstance(given, Mapping) else {}
    lengths = {}
    for name in events_by_file:
        value = known.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST:
            lengths[name] = float(value)
        elif len(events_by_file) > 1:
            raise FormatError(
                f"raven counts times over all recordings, got {len(events_by_file)} and the length {value!r} of "
                f'{name!r}; give meta["durations"] in seconds, or write a file for each'
            )
    return lengths


def _header(cells: Sequence[str], where: str) -> tuple[list[str], str]:
    """The columns in lower case, and the one that has the label."""
    columns = [cell.strip().lower() for cell in cells]
    missing = [column for column in (BEGIN, END) if column not in columns]
    label = next((column for column in LABELS if column in columns), None)
    if missing or len({name for name in columns if name}) < sum(map(bool, columns)):
        problem = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise FormatError(f"{where}: header {list(cells)} has {problem}, expected {', '.join(HEADER)}")
    if label is None:
        raise FormatError(
            f"{where}: header {list(cells)} has no column of labels, expected one of {', '.join(LABELS)}"
        )
    return columns, label


def _event(values: Mapping[str, str], label: str, where: str) -> Event:
    score = next((values[name] for name in SCORES if values.get(name, "").strip()), "")
    event = event_of(values[BEGIN], values[END], values[label], score, where)
    inside = values.get(INSIDE, "")
    if not inside.strip():
        return event
    try:
        shift = float(inside) - event.onset
    except ValueError as error:
        raise FormatError(f"{where}: got the file offset {inside!r}, expected seconds ({error})") from error
    offset = round(event.offset + shift, 6) if abs(shift) < 1e12 else event.offset + shift
    return event_of(inside, repr(offset), values[label], score, where)


def _name(values: Mapping[str, str]) -> str:
    return next((values[column] for column in (PATH, FILE) if values.get(column, "").strip()), "")


def _stem(source: str) -> str:
    """`street` of `street.Table.1.selections.txt`, as Raven calls its tables."""
    name = PureWindowsPath(source).name
    lower = name.lower()
    for ending in (".selections.txt", ".txt"):
        if lower.endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
            break
    stem, _, table = name.rpartition(".Table.")
    return stem if stem and table.isdigit() else name
