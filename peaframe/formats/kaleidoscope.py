r"""Kaleidoscope's tables (Wildlife Acoustics; .csv): a detection a line, where it is and what it may be.

    INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,AUTO ID,CONFIDENCE,MANUAL ID
    clips,,street.wav,0,0.040,1.160,dog barking,0.9100,

A table holds many recordings. OFFSET and DURATION are seconds from the recording's start, with 3 decimals. The label
is in AUTO ID, as a machine found it, so that MANUAL ID is free for the person who looks through the table in
Kaleidoscope's viewer. Kaleidoscope has no score of its own for this; `CONFIDENCE`, with 4 decimals, is a column
more. A recording without events is a line without labels, as long as `meta["durations"]` says.

Where `meta` has `recorded`, even an empty one, there are DATE (YYYY-MM-DD), TIME (hh:mm:ss) and HOUR (0 to 23) after
DURATION, as Kaleidoscope has them: what calendar and clock showed at OFFSET, blank where a recording's time is not
known. The zone is lost.

Columns are read in any order, by name, with or without `*`, others are read over: those of id.csv and cluster.csv, and
BirdNET's tables for Kaleidoscope. The label is MANUAL ID, or where that is blank AUTO ID, TOP1MATCH, the common name or
the scientific one; a line without any, or with `NoID`, is no event. The score is CONFIDENCE or MATCH RATIO, unless
a person has changed the label; TOP1DIST, a distance that is small where it is sure, is none. A recording is INDIR,
FOLDER and IN FILE, joined.
Source: the columns of Kaleidoscope Pro 5's id.csv and cluster.csv, and of BirdNET-Analyzer's tables for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import delimited, moments
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, event_of, times

HEADER = ("INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "AUTO ID", "CONFIDENCE", "MANUAL ID")
CLOCK = ("DATE", "TIME", "HOUR")
AUTOMATIC = ("auto id", "top1match", "common_name", "scientific_name")
SCORES = ("confidence", "match ratio")
_NEEDED = ("in file", "offset", "duration")
_NOTHING = ("", "noid")


class _Table(Pieces):
    """The table, recording by recording."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__(meta)
        self._timed = moments.timed(meta)

    def head(self) -> str:
        return delimited.line((*HEADER[:6], *(CLOCK if self._timed else ()), *HEADER[6:]), ",")

    def rows(self, recording: Recording) -> str:
        folder, file = _split(delimited.require_name(recording.name))
        lines = []
        for event in recording.events:
            if event.label.strip().lower() in _NOTHING:
                raise FormatError(
                    f"kaleidoscope cannot hold the label {event.label!r}, its word for none; rename it"
                )
            onset, offset = times(event, 3)
            score = "" if event.score is None else f"{event.score:.4f}"
            lasts = f"{float(offset) - float(onset):.3f}"
            clock = self._clock(recording, float(onset))
            lines.append((folder, "", file, "0", onset, lasts, *clock, event.label, score, ""))
        if not lines:
            seconds = recording.seconds()
            lasts = "" if seconds is None else f"{seconds:.3f}"
            lines.append((folder, "", file, "0", "0.000", lasts, *self._clock(recording, 0.0), "", "", ""))
        return "".join(delimited.line(row, ",") for row in lines)

    def _clock(self, recording: Recording, onset: float) -> tuple[str, ...]:
        """DATE, TIME and HOUR, where there are such columns."""
        if not self._timed or recording.begun is None:
            return ("",) * (3 * self._timed)
        date, time = moments.clock(recording.begun, onset)
        return date, time[:8], str(int(time[:2]))


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The table, recording by recording, for those who write it as it grows."""
    return _Table(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The table; all of `meta` but `durations` and `recorded` is left out.

    Raises:
        FormatError: a name or label with a null character, or a name that is blank or ends with a slash.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by recording, also of those without any.

    Raises:
        FormatError: a column is missing, or a line is no detection; with file and line.
    """
    found: dict[str, list[Event]] = {}
    for where, header, row in delimited.read_lines(text, source, ",", _header, HEADER):
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise FormatError(f"{where}: got {len(row)} cells, expected {len(header)} as in the header")
        row += [""] * (len(header) - len(row))
        cells = dict(zip(header, row, strict=False))
        if not cells["in file"].strip():
            raise FormatError(f"{where}: IN FILE is blank; name the recording")
        parts = (cells.get("indir", ""), cells.get("folder", ""), cells["in file"])
        found.setdefault(_joined(*parts), []).extend(_events(cells, where))
    return found


def _header(row: list[str], where: str) -> list[str]:
    names = [cell.strip().rstrip("*").rstrip().lower() for cell in row]
    missing = [name.upper() for name in _NEEDED if name not in names]
    if not {"manual id", *AUTOMATIC} & set(names):
        missing.append("AUTO ID or MANUAL ID")
    known = [
        name for name in names if name in {"indir", "folder", "manual id", *_NEEDED, *AUTOMATIC, *SCORES}
    ]
    if missing or len(set(known)) < len(known):
        problem = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise FormatError(f"{where}: header {row} has {problem}, expected {', '.join(HEADER)}")
    return names


def _events(cells: Mapping[str, str], where: str) -> list[Event]:
    """The event of a line, or none."""
    automatic = next((cells[name] for name in AUTOMATIC if cells.get(name, "").strip()), "")
    manual = cells.get("manual id", "")
    label = manual if manual.strip() else automatic
    if label.strip().lower() in _NOTHING:
        return []
    score = next((cells[name] for name in SCORES if cells.get(name, "").strip()), "")
    onset, lasts = cells["offset"], cells["duration"]
    try:
        offset = repr(round(float(onset) + float(lasts), 6))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: got {onset!r} for {lasts!r}, expected numbers ({error})") from error
    return [event_of(onset, offset, label, score if label == automatic else "", where)]


def _split(name: str) -> tuple[str, str]:
    """Folder and file of a name, so that joining gives the name."""
    at = max(name.rfind("/"), name.rfind("\\")) + 1
    folder, file = name[:at], name[at:]
    if not file.strip():
        raise FormatError(f"got the recording's name {name!r}, expected one that ends with a file's")
    return (folder[:-1] if _joined(folder[:-1], "", file) == name else folder), file


def _joined(*parts: str) -> str:
    joined = ""
    for part in filter(None, parts):
        slash = "\\" if "\\" in joined and "/" not in joined else "/"
        joined += part if not joined or joined[-1] in "/\\" else slash + part
    return joined
