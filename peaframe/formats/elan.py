"""ELAN's annotations (.eaf, version 3.0): a tier for each label, times in whole milliseconds, the recording linked.

Annotations of a tier must not overlap, so overlapping events of one label become one; scores are lost. A recording's
name is kept exactly in a property, `peaframe recording`; ELAN itself finds the recording by its address, or beside the
eaf under the last part of its name. When it was made, if `meta["recorded"]` says so, is in the property `peaframe
recorded`, as `2024-06-01T04:00:00.000+02:00 (guano, Europe/Berlin)`; it is not read. The date, which the format wants,
is always 1970, so that the same events make the same file.

Read is every annotation that has times of its own, in eaf files by anybody. Its value is the label, or where that is
blank its tier's name; time slots without a time part what is between their neighbours evenly, as ELAN does.
Annotations that refer to others are read over. The name is that of the property, else the last part of the linked
recording's address, else the stem of the file.
Source: H. Sloetjes, "ELAN Annotation Format (EAF), schema version 3.0", and EAFv3.0.xsd (MPI for Psycholinguistics).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import moments
from peaframe.formats.delimited import require_name
from peaframe.formats.pieces import of_all
from peaframe.formats.text import EventsByFile, event_of, require_one_line
from peaframe.formats.textgrid import apart

_NAME, _RECORDED = "peaframe recording", "peaframe recorded"
_MIME = {".wav": "audio/x-wav", ".mpg": "video/mpeg", ".mp4": "video/mp4", ".mov": "video/quicktime"}
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def dumps(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> str:
    """The document of the one recording; of `meta` only `recorded` counts.

    Raises:
        FormatError: several recordings, a blank name, or a label or name with tabs, line breaks or control characters.
    """
    if len(events_by_file) > 1:
        raise FormatError(f"elan holds one recording, got {len(events_by_file)}; write a file for each")
    slots: list[int] = []
    tiers: list[str] = []
    head = ['    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">']
    for recording in of_all(events_by_file, meta):
        head += _media(_legal(require_name(recording.name)))
        if recording.begun is not None:
            said = escape(_legal(moments.sentence(recording.begun)))
            head.append(f'        <PROPERTY NAME="{_RECORDED}">{said}</PROPERTY>')
        for label, spans in apart(recording.events, 3, "elan").items():
            tiers.append(f'    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID={quoteattr(_legal(label))}>')
            for onset, offset in spans:
                slots += [round(onset * 1000), round(offset * 1000)]
                last = len(slots)
                tiers += [
                    "        <ANNOTATION>",
                    f'            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{last // 2}" '
                    f'TIME_SLOT_REF1="ts{last - 1}" TIME_SLOT_REF2="ts{last}">',
                    f"                <ANNOTATION_VALUE>{escape(label)}</ANNOTATION_VALUE>",
                    "            </ALIGNABLE_ANNOTATION>",
                    "        </ANNOTATION>",
                ]
            tiers.append("    </TIER>")
    head += [f'        <PROPERTY NAME="lastUsedAnnotationId">{len(slots) // 2}</PROPERTY>', "    </HEADER>"]
    order = sorted(range(len(slots)), key=slots.__getitem__)  # ELAN wants them in the order of time
    times = [f'        <TIME_SLOT TIME_SLOT_ID="ts{at + 1}" TIME_VALUE="{slots[at]}"/>' for at in order]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<ANNOTATION_DOCUMENT AUTHOR="peaframe" DATE="1970-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
            *head,
            *(["    <TIME_ORDER>", *times, "    </TIME_ORDER>"] if times else ["    <TIME_ORDER/>"]),
            *tiers,
            '    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>',
            "</ANNOTATION_DOCUMENT>\n",
        ]
    )


def loads(text: str, source: str) -> dict[str, list[Event]]:
    """The events of all tiers, sorted, by the recording's name.

    Raises:
        FormatError: no XML, no eaf, or an annotation that has no times or lasts none; with file and line.
    """
    reader = _Reader(source)
    reader.read(text)
    name = reader.name or reader.address or PurePath(source).stem
    events = []
    for tier in reader.tiers:
        for label, first, last, where in tier:
            onset, offset = (_seconds(reader.slots, slot, where) for slot in (first, last))
            events.append(event_of(onset, offset, label, "", where))
    return {name: sorted(events)}


class _Reader:
    """What an eaf holds, gathered while it is parsed: `tiers` of (label, first slot, last slot, place)."""

    def __init__(self, source: str) -> None:
        self.name = self.address = ""
        self.slots: dict[str, float | None] = {}
        self.tiers: list[list[tuple[str, str, str, str]]] = []
        self._source = source
        self._tier = ""
        self._open: list[str] = []
        self._property = ""
        self._slots = ("", "", "")
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, text: str) -> None:
        try:
            self._parser.Parse(text, True)
        except expat.ExpatError as error:
            reason = expat.errors.messages.get(error.code, "broken")
            raise FormatError(
                f"{self._source}:{error.lineno}: not XML ({reason}); repair the file"
            ) from error
        except UnicodeEncodeError as error:
            raise FormatError(f"{self._source}:1: not XML (half a character); repair the file") from error
        for tier in self.tiers:
            _spread(self.slots, [(first, last) for _, first, last, _ in tier])

    @property
    def _where(self) -> str:
        return f"{self._source}:{self._parser.CurrentLineNumber}"

    def _refuse(self, *_: object) -> None:
        raise FormatError(
            f"{self._where}: got a DOCTYPE, which eaf files have not; expected ELAN's annotations"
        )

    def _start(self, tag: str, given: dict[str, str]) -> None:
        if not self._open and tag != "ANNOTATION_DOCUMENT":
            raise FormatError(f"{self._where}: got <{tag}>, expected ELAN's <ANNOTATION_DOCUMENT>")
        self._open.append(tag)
        self._text.clear()
        if tag == "MEDIA_DESCRIPTOR" and not self.address:
            address = given.get("MEDIA_URL") or given.get("RELATIVE_MEDIA_URL", "")
            self.address = PurePosixPath(unquote(address.replace("\\", "/"))).name.strip()
        elif tag == "PROPERTY":
            self._property = given.get("NAME", "")
        elif tag == "TIME_SLOT":
            self._slot(given)
        elif tag == "TIER":
            self._tier = given.get("TIER_ID", "")
            self.tiers.append([])
        elif tag == "ALIGNABLE_ANNOTATION":
            slots = (given.get("TIME_SLOT_REF1", ""), given.get("TIME_SLOT_REF2", ""))
            self._slots = (*slots, self._where)

    def _slot(self, given: dict[str, str]) -> None:
        value = given.get("TIME_VALUE")
        if value is not None and not re.fullmatch(r"\d{1,15}", value, re.ASCII):
            raise FormatError(f"{self._where}: got TIME_VALUE {value!r}, expected whole milliseconds")
        self.slots[given.get("TIME_SLOT_ID", "")] = None if value is None else int(value)

    def _end(self, tag: str) -> None:
        self._open.pop()
        text = "".join(self._text)
        if tag == "PROPERTY" and self._property == _NAME and text.strip():
            self.name = text
        if tag == "ANNOTATION_VALUE" and self._open[-1] == "ALIGNABLE_ANNOTATION" and self.tiers:
            self.tiers[-1].append((text if text.strip() else self._tier, *self._slots))
        self._text.clear()


def _spread(slots: dict[str, float | None], pairs: list[tuple[str, str]]) -> None:
    """Give times to the slots of a tier that have none: evenly between those that have, along the chain."""
    chain: list[str] = []
    for first, last in pairs:
        chain = [*chain, last] if chain and chain[-1] == first else [first, last]
        begin, end = slots.get(chain[0]), slots.get(last)
        if begin is not None and end is not None:
            for step, slot in enumerate(chain[1:-1], start=1):
                if slots.get(slot) is None:
                    slots[slot] = begin + (end - begin) * step / (len(chain) - 1)
            chain = [last]


def _seconds(slots: Mapping[str, float | None], slot: str, where: str) -> str:
    value = slots.get(slot)
    if value is None:
        raise FormatError(
            f"{where}: got an annotation whose time slot {slot!r} has no time; align it in ELAN"
        )
    return repr(value / 1000)


def _media(name: str) -> list[str]:
    """The link to a recording, and its name as it was given."""
    windows = PureWindowsPath(name)
    path = windows.as_posix() if windows.drive else name
    address = f"file:///{path.lstrip('/')}" if windows.drive or name.startswith("/") else f"./{path}"
    beside = "./" + (windows.name or name)
    mime = _MIME.get(windows.suffix.lower(), "unknown")
    return [
        f'        <MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(address)} MIME_TYPE="{mime}" '
        f"RELATIVE_MEDIA_URL={quoteattr(beside)}/>",
        f'        <PROPERTY NAME="{_NAME}">{escape(name)}</PROPERTY>',
    ]


def _legal(text: str) -> str:
    if _NO_XML.search(require_one_line(text, "elan")):
        raise FormatError(
            f"elan cannot hold {text!r}: characters that XML does not know; rename it or use json"
        )
    return text
