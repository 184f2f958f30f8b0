r"""Praat's TextGrid: an interval tier for each label, in it the label where it is heard and nothing where it is not.

Intervals of a tier must not overlap, so overlapping events of one label become one; scores and the recording's name are
lost. Times have 6 decimals. A recording ends at its length in `meta["durations"]`, or with its last event where that is
unknown or too short. Without events there is one tier, `events`, that is silent.

Read are both of Praat's text forms, long and short, as Praat reads them: numbers, `"texts"` and `<flags>` that stand
free count, all else is decoration. The text of an interval is the label, whatever its tier is called; the points of a
point tier last no time and are read over. Source: Praat's manual, "TextGrid file formats" and "Types of text file".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.text import EventsByFile, event_of, require_one_line, times

_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|(![^\n]*)|([^\s"]+)|(")')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The long text form of the one recording; all of `meta` but `durations` is left out.

    Raises:
        FormatError: several recordings, or a label with tabs or line breaks.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"textgrid holds one recording, got {len(events_by_file)}; write a file for each")
    events = [event for own in events_by_file.values() for event in own]
    tiers = apart(events, 6, "textgrid")
    end = max((spans[-1][1] for spans in tiers.values()), default=0.0)
    given = meta.get("durations")
    for name in events_by_file:
        seconds = given.get(name) if isinstance(given, Mapping) else None
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and end < seconds < 1e12:
            end = round(float(seconds), 6)
    drawn = list(tiers.items()) or [("events", [])]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_decimal(end)}",
    ]
    lines += ["tiers? <exists>", f"size = {len(drawn)}", "item []:"]
    for number, (label, spans) in enumerate(drawn, start=1):
        intervals = list(_filled(spans, label, end))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(label)}",
        ]
        lines += [
            "        xmin = 0",
            f"        xmax = {_decimal(end)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for index, (onset, offset, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {_decimal(onset)}"]
            lines += [f"            xmax = {_decimal(offset)}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events of all interval tiers, sorted, under the stem of `source` as the recording's name.

    Raises:
        FormatError: no TextGrid in one of the text forms, or an interval that lasts no time; with file and line.
    """
    reader = _Reader(text, source)
    if reader.text("ooTextFile") != "ooTextFile" or reader.text("TextGrid") != "TextGrid":
        raise FormatError(
            f'{reader.where}: not a TextGrid; expected "ooTextFile" and "TextGrid", saved as text'
        )
    reader.number("xmin")
    reader.number("xmax")
    events: list[Event] = []
    for _ in range(reader.count("size") if reader.flag() else 0):
        kind = reader.text("IntervalTier or TextTier")
        if kind not in ("IntervalTier", "TextTier"):
            raise FormatError(f"{reader.where}: got a tier {kind!r}, expected IntervalTier or TextTier")
        reader.text("a tier's name")
        reader.number("xmin")
        reader.number("xmax")
        for _ in range(reader.count("size")):
            onset = reader.number("xmin")
            offset = reader.number("xmax") if kind == "IntervalTier" else onset
            where, label = reader.where, reader.text("an interval's text")
            if kind == "IntervalTier" and label.strip():
                events.append(event_of(onset, offset, label, "", where))
    return {PurePath(source).stem: sorted(events)}


def apart(events: Sequence[Event], decimals: int, format: str) -> dict[str, list[tuple[float, float]]]:
    """By label, in the order in which labels begin, its rounded (onset, offset); what overlaps is joined.

    Raises:
        FormatError: a label with tabs or line breaks.
    """
    tiers: dict[str, list[tuple[float, float]]] = {}
    for event in sorted(events):
        spans = tiers.setdefault(require_one_line(event.label, format), [])
        onset, offset = (float(cell) for cell in times(event, decimals))
        if spans and onset < spans[-1][1]:
            spans[-1] = spans[-1][0], max(offset, spans[-1][1])
        else:
            spans.append((onset, offset))
    return tiers


class _Reader:
    """The numbers, texts and flags of a file, one after the other, and the line they stand on."""

    def __init__(self, text: str, source: str) -> None:
        self.where = f"{source}:1"
        self._tokens = _tokens(text)
        self._source = source

    def text(self, wanted: str) -> str:
        return self._next("text", wanted)

    def number(self, wanted: str) -> str:
        return self._next("number", wanted)

    def flag(self) -> bool:
        return self._next("flag", "<exists>") == "<exists>"

    def count(self, wanted: str) -> int:
        found = self.number(wanted)
        if not found.isdecimal():
            raise FormatError(f"{self.where}: got {found} as {wanted}, expected a count")
        return int(found[:18])

    def _next(self, kind: str, wanted: str) -> str:
        got, value, line = next(self._tokens, ("end", "", 0))
        if line:
            self.where = f"{self._source}:{line}"
        if got != kind:
            shown = "the end of the file" if got == "end" else f"the {got} {value!r}"
            raise FormatError(
                f"{self.where}: got {shown}, expected a {kind}: {wanted}; a TextGrid saved as text"
            )
        return value


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, value, line) of all that counts."""
    line, at = 1, 0
    for found in _TOKEN.finditer(text):
        line, at = line + text.count("\n", at, found.start()), found.start()
        if found[1] is not None:
            yield "text", found[1].replace('""', '"'), line
        elif found[4]:
            yield "quote", found[4], line
        elif found[3] and _NUMBER.fullmatch(found[3]):
            yield "number", found[3], line
        elif found[3] in ("<exists>", "<absent>"):
            yield "flag", found[3], line


def _filled(
    spans: Sequence[tuple[float, float]], label: str, end: float
) -> Iterator[tuple[float, float, str]]:
    """The label's intervals and the silent ones between them, from 0 to the end."""
    before = 0.0
    for onset, offset in spans:
        if before < onset:
            yield before, onset, ""
        yield onset, offset, label
        before = offset
    if before < end or not spans:
        yield before, end, ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _decimal(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
