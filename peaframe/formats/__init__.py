r"""Files of events: one registry of formats, by name and by suffix.

| name | suffix | holds | does not hold |
|---|---|---|---|
| `tsv` | .tsv | DCASE's `filename onset offset event_label`; empty recordings | scores; tabs, line breaks |
| `csv` | .csv | `filename,onset,offset,event_label,score` | empty recordings |
| `json` | .json | everything, exactly, and settings under `meta` | |
| `audacity` | .txt | one recording's `start end label` | scores, its name; tabs, line breaks |
| `raven` | .selections.txt | Raven's selection table | empty recordings; tabs, line breaks |
| `jams` | .jams | one recording, settings in its sandbox | |

Times have 3 decimals in tsv and csv, 6 in audacity and raven, 9 in jams; scores have 4, in json and jams all. Text is
UTF-8 with `\n`. Lengths of recordings, which raven and jams can use, are `meta["durations"]`, seconds by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.files import atomic_path
from peaframe.formats import audacity, csv_events, dcase, jams, json_events, raven
from peaframe.formats.text import EventsByFile

__all__ = ["EventsByFile", "dumps", "for_path", "load", "loads", "names", "save"]


@dataclass(frozen=True)
class _Format:
    suffix: str
    dumps: Callable[[EventsByFile, Mapping[str, Any]], str]
    loads: Callable[[str, str], dict[str, list[Event]]]


_FORMATS = {
    "tsv": _Format(".tsv", dcase.dumps, dcase.loads),
    "csv": _Format(".csv", csv_events.dumps, csv_events.loads),
    "json": _Format(".json", json_events.dumps, json_events.loads),
    "audacity": _Format(".txt", audacity.dumps, audacity.loads),
    "raven": _Format(".selections.txt", raven.dumps, raven.loads),
    "jams": _Format(".jams", jams.dumps, jams.loads),
}


def names() -> tuple[str, ...]:
    """The formats there are."""
    return tuple(_FORMATS)


def for_path(path: str | os.PathLike[str]) -> str:
    """The name of the format a file's suffix stands for.

    Raises:
        FormatError: no format has this suffix.
    """
    suffix = Path(path).suffix
    endings = {"".join(Path(path).suffixes[-count:]).lower() for count in (1, 2)}
    for name, known in sorted(_FORMATS.items(), key=lambda item: -len(item[1].suffix)):
        if known.suffix in endings:
            return name
    choices = ", ".join(f"{known.suffix} ({name})" for name, known in _FORMATS.items())
    raise FormatError(f"{path}: no format has the suffix {suffix!r}; use {choices}, or name the format")


def dumps(events_by_file: EventsByFile, format: str, meta: Mapping[str, Any] | None = None) -> str:
    """Events as the text of a file.

    Args:
        events_by_file: Each recording's name, as the user gave it, and its events.
        format: One of `names()`.
        meta: How the events were made, kept by json and jams and by no other format.

    Raises:
        FormatError: an unknown format, or a label, name or setting that the format cannot hold.
    """
    return _known(format).dumps(events_by_file, {} if meta is None else meta)


def loads(text: str, format: str, source: str = "<text>") -> dict[str, list[Event]]:
    """Events from the text of a file, by recording, in the order of the text.

    Args:
        text: What the file holds.
        format: One of `names()`.
        source: The file's name, for messages; a format or file that names no recording (audacity; raven and jams
            at times) files the events under the stem of it.

    Raises:
        FormatError: an unknown format, or text that is not in it, with file and line.
    """
    return _known(format).loads(text.removeprefix("\ufeff"), source)


def save(
    path: str | os.PathLike[str],
    events_by_file: EventsByFile,
    format: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write events to a file, whole or not at all; the format is the suffix's unless named.

    Raises:
        FormatError: as `dumps` and `for_path`; the file cannot be written.
    """
    text = dumps(events_by_file, for_path(path) if format is None else format, meta)
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        broken = text[max(0, error.start - 20) : error.end]
        raise FormatError(f"{path}: {broken!r} is not valid Unicode; rename the label or file") from error
    with atomic_path(path) as temp:
        temp.write_bytes(content)


def load(path: str | os.PathLike[str], format: str | None = None) -> dict[str, list[Event]]:
    """Read a file of events, by recording; the format is the suffix's unless named.

    Raises:
        FormatError: as `loads` and `for_path`; the file cannot be read or is not UTF-8.
    """
    name = for_path(path) if format is None else format
    _known(name)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    return loads(text, name, source=str(path))


def _known(format: str) -> _Format:
    if format not in _FORMATS:
        raise FormatError(f"unknown format {format!r}; expected one of {', '.join(_FORMATS)}")
    return _FORMATS[format]
