r"""Files of events: one registry of formats, by name and by suffix.

| name | suffix | holds | does not hold |
|---|---|---|---|
| `tsv` | .tsv | DCASE's `filename onset offset event_label`; empty recordings | scores; tabs, line breaks |
| `csv` | .csv | `filename,onset,offset,event_label,score`; empty recordings | |
| `json` | .json | everything, exactly, and settings under `meta` | |
| `jsonl` | .jsonl | everything, exactly, and settings in its first line; an event a line, appendable | |
| `parquet` | .parquet | everything, exactly, and settings in its metadata; bytes, not text | |
| `audacity` | .txt | one recording's `start end label` | scores, its name; tabs, line breaks |
| `raven` | .selections.txt | Raven's selection table | empty recordings; tabs, line breaks |
| `jams` | .jams | one recording, settings in its sandbox | |
| `rttm` | .rttm | diarisation's SPEAKER lines; empty recordings | names of recordings, only their stems |
| `textgrid` | .TextGrid | one recording in Praat, a tier for each label | scores, its name; overlaps of one label |
| `elan` | .eaf | one recording in ELAN, a tier for each label, its name | scores; overlaps of one label |
| `webvtt` | .vtt | one recording as subtitles of the web, scores and its name where players do not look | line breaks |
| `srt` | .srt | one recording as subtitles | scores, its name; line breaks |
| `label_studio` | by name (.json) | everything, exactly, as tasks with predictions | |
| `sam_audio` | by name (.json) | anchors of SAM Audio; empty recordings | scores |
| `kaleidoscope` | by name (.csv) | Wildlife Acoustics' table; empty recordings | |

Times have 3 decimals in tsv, csv, elan, webvtt, srt and kaleidoscope, 6 in audacity, raven, rttm and textgrid, 9 in
jams; scores have 4. json, jsonl, parquet, label_studio and sam_audio round nothing, jams no scores. Text is UTF-8 with
`\n`. Lengths of recordings, which raven, jams, textgrid and others can use, are `meta["durations"]`, seconds by name.
When recordings were made is `meta["recorded"]`, by name, as `peaframe.formats.moments` describes it; all but tsv,
audacity, rttm, textgrid, srt and sam_audio write it, most of them the time of each event. `open_writer` writes files of
many recordings as they grow.
Objects of pyannote instead of files: `peaframe.formats.pyannote`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.files import atomic_path
from peaframe.formats import (
    audacity,
    csv_events,
    dcase,
    elan,
    jams,
    json_events,
    json_lines,
    kaleidoscope,
    label_studio,
    parquet_events,
    raven,
    rttm,
    sam_audio,
    settings,
    srt,
    streams,
    textgrid,
    webvtt,
)
from peaframe.formats.pieces import Pieces, encoded
from peaframe.formats.streams import Writer
from peaframe.formats.text import EventsByFile

__all__ = [
    "EventsByFile",
    "Writer",
    "dumps",
    "for_path",
    "from_bytes",
    "holds_one",
    "is_text",
    "load",
    "loads",
    "meta_of",
    "names",
    "open_writer",
    "save",
    "suffix",
    "to_bytes",
]


@dataclass(frozen=True)
class _Format:
    """One format.

    Attributes:
        suffix: What its files end with.
        dumps: Events and `meta` as a file's content.
        loads: Events from a file's content and its name.
        pieces: The text of many recordings, piece by piece, from `meta`.
        meta: `meta` from a file's content and its name, where the format keeps it.
        binary: The content is bytes, not text.
        one: A file holds one recording.
        by_name: Its suffix stands for another format.
    """

    suffix: str
    dumps: Callable[[EventsByFile, Mapping[str, Any]], str | bytes]
    loads: Callable[[Any, str], dict[str, list[Event]]]
    pieces: Callable[[Mapping[str, Any]], Pieces] | None = None
    meta: Callable[[Any, str], dict[str, Any]] | None = None
    binary: bool = False
    one: bool = False
    by_name: bool = False


_FORMATS = {
    "tsv": _Format(".tsv", dcase.dumps, dcase.loads, dcase.pieces),
    "csv": _Format(".csv", csv_events.dumps, csv_events.loads, csv_events.pieces),
    "json": _Format(".json", json_events.dumps, json_events.loads, json_events.pieces, settings.of_json),
    "jsonl": _Format(".jsonl", json_lines.dumps, json_lines.loads, json_lines.pieces, json_lines.meta),
    "parquet": _Format(
        ".parquet", parquet_events.dumps, parquet_events.loads, meta=parquet_events.meta, binary=True
    ),
    "audacity": _Format(".txt", audacity.dumps, audacity.loads, one=True),
    "raven": _Format(".selections.txt", raven.dumps, raven.loads, raven.pieces),
    "jams": _Format(".jams", jams.dumps, jams.loads, meta=settings.of_jams, one=True),
    "rttm": _Format(".rttm", rttm.dumps, rttm.loads, rttm.pieces),
    "textgrid": _Format(".TextGrid", textgrid.dumps, textgrid.loads, one=True),
    "elan": _Format(".eaf", elan.dumps, elan.loads, one=True),
    "webvtt": _Format(".vtt", webvtt.dumps, webvtt.loads, one=True),
    "srt": _Format(".srt", srt.dumps, srt.loads, one=True),
    "label_studio": _Format(
        ".json", label_studio.dumps, label_studio.loads, label_studio.pieces, by_name=True
    ),
    "sam_audio": _Format(".json", sam_audio.dumps, sam_audio.loads, sam_audio.pieces, by_name=True),
    "kaleidoscope": _Format(
        ".csv", kaleidoscope.dumps, kaleidoscope.loads, kaleidoscope.pieces, by_name=True
    ),
}


def names() -> tuple[str, ...]:
    """The formats there are."""
    return tuple(_FORMATS)


def suffix(format: str) -> str:
    """What the files of a format end with.

    Raises:
        FormatError: an unknown format.
    """
    return _known(format).suffix


def is_text(format: str) -> bool:
    """Whether the files of a format are text, which `dumps` and `loads` take.

    Raises:
        FormatError: an unknown format.
    """
    return not _known(format).binary


def holds_one(format: str) -> bool:
    """Whether a file of a format holds one recording and no more.

    Raises:
        FormatError: an unknown format.
    """
    return _known(format).one


def for_path(path: str | os.PathLike[str]) -> str:
    """The name of the format a file's suffix stands for.

    Raises:
        FormatError: no format has this suffix.
    """
    endings = {"".join(Path(path).suffixes[-count:]).lower() for count in (1, 2)}
    claimed = {name: known for name, known in _FORMATS.items() if not known.by_name}
    for name, known in sorted(claimed.items(), key=lambda item: -len(item[1].suffix)):
        if known.suffix.lower() in endings:
            return name
    choices = ", ".join(f"{known.suffix} ({name})" for name, known in claimed.items())
    ending = Path(path).suffix
    raise FormatError(f"{path}: no format has the suffix {ending!r}; use {choices}, or name the format")


def dumps(events_by_file: EventsByFile, format: str, meta: Mapping[str, Any] | None = None) -> str:
    """Events as the text of a file.

    Args:
        events_by_file: Each recording's name, as the user gave it, and its events.
        format: One of `names()`.
        meta: How the events were made, kept by json, jsonl, parquet and jams and by no other format, but for the
            lengths of recordings (`durations`) and when they were made (`recorded`).

    Raises:
        FormatError: an unknown format, one that is not text, or a label, name or setting that it cannot hold.
    """
    content = _known(format).dumps(events_by_file, {} if meta is None else meta)
    if isinstance(content, bytes):
        raise FormatError(f"{format} is not text; write it to a file")
    return content


def loads(text: str, format: str, source: str = "<text>") -> dict[str, list[Event]]:
    """Events from the text of a file, by recording, in the order of the text.

    Args:
        text: What the file holds.
        format: One of `names()`.
        source: The file's name, for messages; a format or file that names no recording (audacity, textgrid, srt;
            others at times) files the events under the stem of it.

    Raises:
        FormatError: an unknown format, one that is not text, or text that is not in it, with file and line.
    """
    known = _known(format)
    if known.binary:
        raise FormatError(f"{source}: {format} is not text; read it from a file")
    return known.loads(text.removeprefix("\ufeff"), source)


def to_bytes(events_by_file: EventsByFile, format: str, meta: Mapping[str, Any] | None = None) -> bytes:
    """Events as what a file of any format holds, text as UTF-8; otherwise as `dumps`.

    Raises:
        FormatError: as `dumps`, or text that is not valid Unicode.
        MissingExtraError: parquet without pyarrow.
    """
    content = _known(format).dumps(events_by_file, {} if meta is None else meta)
    return content if isinstance(content, bytes) else encoded(content)


def from_bytes(content: bytes, format: str, source: str = "<bytes>") -> dict[str, list[Event]]:
    """Events from what a file of any format holds; otherwise as `loads`.

    Raises:
        FormatError: as `loads`, or text that is not UTF-8 (nor UTF-16 that begins with a byte order mark).
        MissingExtraError: parquet without pyarrow.
    """
    known = _known(format)
    return known.loads(content if known.binary else _text(content, source), source)


def meta_of(content: bytes, format: str, source: str = "<bytes>") -> dict[str, Any]:
    """How the events of a file were made, as its writer said; nothing where a file or format does not say.

    Raises:
        FormatError: an unknown format, or content that is not in it.
        MissingExtraError: parquet without pyarrow.
    """
    known = _known(format)
    if known.meta is None:
        return {}
    return known.meta(content if known.binary else _text(content, source), source)


def save(
    path: str | os.PathLike[str],
    events_by_file: EventsByFile,
    format: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write events to a file, whole or not at all; the format is the suffix's unless named.

    Raises:
        FormatError: as `to_bytes` and `for_path`; the file cannot be written.
        MissingExtraError: parquet without pyarrow.
    """
    content = to_bytes(events_by_file, for_path(path) if format is None else format, meta)
    with atomic_path(path) as temp:
        temp.write_bytes(content)


@contextmanager
def open_writer(
    path: str | os.PathLike[str], format: str | None = None, meta: Mapping[str, Any] | None = None
) -> Iterator[Writer]:
    """Write a file recording by recording, in little memory; it appears, whole, when the block ends well.

    What is written are the bytes of `to_bytes` (of parquet what reads the same, in several groups of rows).

    Args:
        path: The file; after an error it is as it was before.
        format: The suffix's unless named.
        meta: As of `to_bytes`; lengths and times of recordings may come with each instead. A table gets columns of
            times if `meta` has `recorded`, even an empty one.

    Raises:
        FormatError: as `to_bytes` and `for_path`; the file cannot be written; the format holds one recording only.
        MissingExtraError: parquet without pyarrow.
    """
    name, said = for_path(path) if format is None else format, {} if meta is None else meta
    known = _known(name)
    if known.one:
        raise FormatError(f"{path}: {name} holds one recording; save a file for each")
    with atomic_path(path) as temp:
        pieces = known.pieces
        sink = parquet_events.sink(temp, said) if pieces is None else streams.text_sink(temp, pieces(said))
        with sink as open_sink:
            writer = Writer(open_sink, said)
            try:
                yield writer
            finally:
                writer.close()


def load(path: str | os.PathLike[str], format: str | None = None) -> dict[str, list[Event]]:
    """Read a file of events, by recording; the format is the suffix's unless named.

    Raises:
        FormatError: as `from_bytes` and `for_path`; the file cannot be read.
        MissingExtraError: parquet without pyarrow.
    """
    name = for_path(path) if format is None else format
    _known(name)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    return from_bytes(content, name, source=str(path))


def _text(content: bytes, source: str) -> str:
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Praat and programs on Windows write
    encoding = "utf-16" if utf16 else "utf-8-sig"
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        name = "UTF-16" if utf16 else "UTF-8"
        raise FormatError(f"{source}: byte {error.start} is not {name}; save the file as UTF-8") from error


def _known(format: str) -> _Format:
    if format not in _FORMATS:
        raise FormatError(f"unknown format {format!r}; expected one of {', '.join(_FORMATS)}")
    return _FORMATS[format]
