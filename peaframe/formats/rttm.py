r"""RTTM, the lists of who speaks when in diarisation: a `SPEAKER` line an event, the label in the speaker's place.

    SPEAKER street 1 0.040 1.160 <NA> <NA> dog%20barking 0.9100 <NA>

Cells are parted by blanks, so labels and names are written as addresses are on the web: white space, control
characters, quotes and `%` become `%` and two digits for each byte of UTF-8 (`dog%20barking`), which comes back; so does
the first letter of what pandas takes for a missing value (`NA`, `nan`, `None`). Underscores stay as they are, others'
`SPEAKER_00` too. A recording goes by the stem of its name (`street` of `clips/street.wav`), or, where two stems are the
same, all go by their whole names; `with_names` gives the names back. One without events has a `SPKR-INFO` line.

Times have 3 decimals, scores have 4, in the column of confidence; channel and `meta` are lost.
Source: NIST, The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan, appendix A.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PureWindowsPath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.delimited import require_name
from peaframe.formats.pieces import Pieces, Recording, joined
from peaframe.formats.text import EventsByFile, event_of, times

_TYPES = {
    *("SPEAKER", "SPKR-INFO", "SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"),
    *("FILLER", "EDIT", "IP", "SU", "CB", "A/P"),
}
_NONE = "<NA>"
# what pandas, and diarisation's readers with it, takes for a missing value, in lower case
_MISSING = {
    *("#n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "none", "null"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
_BYTES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class _Lines(Pieces):
    """The lines, recording by recording: with whole names, which become stems at last, where no two are the same."""

    spooled = True

    def __init__(self, meta: Mapping[str, Any]) -> None:
        super().__init__(meta)
        self._stems: set[str] = set()

    def rows(self, recording: Recording) -> str:
        cell = _cell(require_name(recording.name))
        lines = []
        for event in recording.events:
            onset, offset = times(event, 3)
            lasts = f"{float(offset) - float(onset):.3f}"
            score = _NONE if event.score is None else f"{event.score:.4f}"
            lines.append(
                f"SPEAKER {cell} 1 {onset} {lasts} {_NONE} {_NONE} {_cell(event.label)} {score} {_NONE}\n"
            )
        silent = f"SPKR-INFO {cell} 1 {_NONE} {_NONE} {_NONE} unknown {_NONE} {_NONE} {_NONE}\n"
        return "".join(lines) or silent

    def passed(self, recording: Recording) -> None:
        super().passed(recording)
        self._stems.add(_stem(recording.name))

    def final(self, line: str) -> str:
        if len(self._stems) < self.count:
            return line
        kind, name, rest = line.split(" ", 2)
        return f"{kind} {_cell(_stem(_text(name)))} {rest}"


def pieces(meta: Mapping[str, Any]) -> Pieces:
    """The lines, recording by recording, for those who write it as it grows."""
    return _Lines(meta)


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The lines, recording by recording; `meta` is left out.

    Raises:
        FormatError: a blank name.
    """
    return joined(pieces(meta), events_by_file)


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """Events by the names in the file; of lines that are no `SPEAKER` only the name counts, `;` is a remark.

    Raises:
        FormatError: a line is none of RTTM's, or lasts no time; with file and line.
    """
    found: dict[str, list[Event]] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        where = f"{source}:{number}"
        cells = line.split()
        if not cells or cells[0][0] in ";#":
            continue
        if cells[0] not in _TYPES or len(cells) not in (9, 10):
            raise FormatError(
                f"{where}: got {len(cells)} cells, the first {cells[0]!r}, expected SPEAKER, recording, channel, "
                "onset, duration, <NA>, <NA>, label, confidence, <NA>"
            )
        events = found.setdefault(_text(cells[1]), [])
        if cells[0] == "SPEAKER":
            events.append(_event(cells, where))
    return found


def with_names(events_by_file: EventsByFile, names: Iterable[str]) -> dict[str, list[Event]]:
    """The same events under recordings' full names, where one of `names` and only one has such a stem.

    A recording that is itself among `names`, or that fits none of them, keeps its name.
    """
    known = list(dict.fromkeys(names))
    stems = Counter(_stem(name) for name in known)
    full = {_stem(name): name for name in known if stems[_stem(name)] == 1}
    named: dict[str, list[Event]] = {}
    for name, events in events_by_file.items():
        named.setdefault(name if name in known else full.get(name, name), []).extend(events)
    return named


def _event(cells: list[str], where: str) -> Event:
    onset, lasts, label, score = cells[3], cells[4], _text(cells[7]), cells[8]
    try:
        offset = repr(round(float(onset) + float(lasts), 6))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: got {onset!r} for {lasts!r}, expected numbers ({error})") from error
    return event_of(onset, offset, label, "" if score == _NONE else score, where)


def _stem(name: str) -> str:
    return PureWindowsPath(name).stem or name


def _cell(text: str) -> str:
    if text.lower() in _MISSING:
        return f"%{ord(text[0]):02X}{text[1:]}"
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in '%"' or character < " " or character.isspace():
        return "".join(f"%{byte:02X}" for byte in character.encode())
    return character


def _text(cell: str) -> str:
    return _BYTES.sub(_unescaped, cell)


def _unescaped(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return found[0]
