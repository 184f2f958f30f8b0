"""Raven's selection tables: tab-separated, without quotes, a selection a line; of one recording or of several.

Raven counts `Begin Time (s)` over all recordings of a table, one after the other, and `File Offset (s)` from the start
of the recording that `Begin File` names. So the offset counts where a table has it, and writing several recordings
takes their lengths: `meta["durations"]`, seconds by name, in the order the recordings have. What is written fills
the band up to 24 kHz.

Where `meta` has `recorded`, even an empty one, the table ends with `Begin Date` (YYYY/MM/DD) and `Begin Clock Time`
(hh:mm:ss.mmm), as Raven Pro names these measurements: what calendar and clock showed, blank where a recording's time
is not known. The zone is lost.

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
from peaframe.formats import moments
from peaframe.formats.delimited import require_name
from peaframe.formats.pieces import Pieces, Recording, joined
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
CLOCK = ("Begin Date", "Begin Clock Time")
_BAND = ("0.0", "24000.0")
_LONGEST = 1e9  # seconds; so that microseconds stay exact


class _Table(Pieces):
    """The table, recording by recording: times and numbers go on from one to the next."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__(meta)
        self._timed = moments.timed(meta)
        self._begun, self._number = 0.0, 0
        self._unknown: Recording | None = None

    def head(self) -> str:
        return "\t".join((*HEADER, *CLOCK) if self._timed else HEADER) + "\n"

    def rows(self, recording: Recording) -> str:
        length = recording.seconds(_LONGEST)
        unknown = self._unknown or (recording if length is None else None)
        if unknown is not None and self.count:
            raise FormatError(
                f"raven counts times over all recordings, got several and the length {unknown.duration!r} of "
                f'{unknown.name!r}; give meta["durations"] in seconds, or write a file for each'
            )
        name = require_one_line(require_name(recording.name), "raven")
        lines = []
        for number, event in enumerate(recording.events, start=self._number + 1):
            if length is not None and event.offset > length + 5e-7:
                raise FormatError(
                    f"{name}: got an event until {event.offset} s in a recording of {float(length)} s; "
                    "give its right length"
                )
            begin = self._begun + event.onset
            moved = Event(begin, max(self._begun + event.offset, begin + 1e-6), event.label)
            inside, score = times(event, 6)[0], "" if event.score is None else f"{event.score:.4f}"
            where = (name, PurePath(name).name, inside, require_one_line(event.label, "raven"), score)
            clock = self._clock(recording, float(inside))
            cells = (str(number), "Spectrogram 1", "1", *times(moved, 6), *_BAND, *where, *clock)
            lines.append("\t".join(cells) + "\n")
        return "".join(lines)

    def passed(self, recording: Recording) -> None:
        super().passed(recording)
        length = recording.seconds(_LONGEST)
        self._begun += float(length or 0)
        self._number += len(recording.events)
        self._unknown = recording if length is None else self._unknown

    def _clock(self, recording: Recording, onset: float) -> tuple[str, ...]:
        """Date and time, where there are such columns."""
        if not self._timed or recording.begun is None:
            return ("",) * (2 * self._timed)
        date, time = moments.clock(recording.begun, onset)
        return date.replace("-", "/"), time


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The table, recording by recording, for those who write it as it grows."""
    return _Table(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; recordings without events take their time in it and no line; `meta` is left out otherwise.

    Raises:
        FormatError: a label or name with tabs or line breaks; several recordings without their `durations`, or with
            an event that ends after its recording does.
    """
    return joined(pieces(meta), events_by_file)


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
