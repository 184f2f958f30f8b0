"""Tables of clips: what PE-AV is to be trained on, a clip a row; CSV, TSV, JSON lines or Parquet.

| column | what it is |
|---|---|
| media | the file: a path from the table's folder, an absolute one, or an address; a picture stands still |
| start, end | which part of it, in seconds; empty: from its beginning, to its end |
| audio_caption, visual_caption, audio_visual_caption | what is said of its sound, its pictures, or both |
| transcript | what is spoken in it |
| source | where it comes from |

Only `media` is needed. A caption is a text, or several: a list in JSON lines and Parquet, and in CSV and TSV a cell
that is a list in JSON, such as `["a dog", "a dog barks"]`. Empty cells say nothing; captions that are empty are passed
over. Any other column is kept with the clip as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peaframe.data.table_rows import SUFFIXES, NoObjectError, TableError, delimiter, read_rows, seconds_in
from peaframe.errors import ManifestError
from peaframe.train.pretrain_batch import CAPTIONS

_KNOWN = ("media", "start", "end", "transcript", "source", *(f"{kind}_caption" for kind in CAPTIONS))


@dataclass(frozen=True)
class ClipRow:
    """A row of the table.

    Attributes:
        row: its number, from 1, without the line of names.
        media: the file as the table names it.
        path: where it is: an absolute path or an address.
        start: where the clip begins, in seconds.
        end: where it ends; None means the end of the file.
        captions: texts by what they tell of (`CAPTIONS`); kinds without any are missing.
        transcript: what is spoken in it, or nothing.
        source: where it comes from, or nothing.
        metadata: all other columns that say something, as JSON.
    """

    row: int
    media: str
    path: str
    start: float = 0.0
    end: float | None = None
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    transcript: str = ""
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def stream(path: str | os.PathLike[str]) -> Iterator[ClipRow]:
    """The clips of a table, one after the other.

    Raises:
        ManifestError: while iterating: the table cannot be read, or a row makes no sense; with its number.
        MissingExtraError: Parquet without pyarrow.
    """
    table = Path(os.path.abspath(path))
    suffix = table.suffix.lower()
    if suffix not in SUFFIXES:
        raise ManifestError(f"{path}: got a table called *{suffix}, expected one of {', '.join(SUFFIXES)}")
    count = 0
    try:
        for count, values in enumerate(read_rows(table, partial(_check_names, table)), start=1):
            if suffix in (".csv", ".tsv") and (None in values or None in values.values()):
                raise ManifestError(
                    f"{table}: row {count}: got another number of cells than the {len({*values} - {None})} columns; "
                    f"quote cells that hold a {'tab' if delimiter(table) == chr(9) else 'comma'}"
                )
            yield _clip(values, count, table)
    except NoObjectError as error:
        raise ManifestError(f"{table}: row {count + 1}: {error}") from error
    except TableError as error:
        raise ManifestError(f"{table}: {error}") from error
    if not count:
        raise ManifestError(f"{table}: has no rows, expected one for each clip")


def _check_names(table: Path, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ManifestError(f"{table}: got column {twice!r} twice, expected each once")
    if "media" not in names:
        raise ManifestError(
            f"{table}: got columns {', '.join(names)}; expected media, and any of {', '.join(_KNOWN[1:])}"
        )


def _clip(values: Mapping[str, Any], number: int, table: Path) -> ClipRow:
    where = f"{table}: row {number}"
    media = _text(values, "media", where)
    if not media:
        raise ManifestError(f"{where}: has no media, expected a path or an address")
    start, end = _seconds(values, "start", where) or 0.0, _seconds(values, "end", where)
    if end is not None and end <= start:
        raise ManifestError(f"{where}: got end {end} s, expected it behind start {start} s")
    captions = {
        kind: found
        for kind in CAPTIONS
        if (found := captions_in(values.get(f"{kind}_caption"), f"{kind}_caption", where))
    }
    metadata = {
        name: value
        for name, value in values.items()
        if name not in _KNOWN and value is not None and value != ""
    }
    try:
        metadata = json.loads(json.dumps(metadata, allow_nan=False))
        json.dumps([media, captions, metadata], ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ManifestError(
            f"{where}: holds what JSON or Unicode cannot ({error}); write it as text"
        ) from error
    path = media if "://" in media else os.path.abspath(table.parent / media)
    transcript, source = _text(values, "transcript", where), _text(values, "source", where)
    return ClipRow(number, media, path, start, end, captions, transcript, source, metadata)


def _text(values: Mapping[str, Any], name: str, where: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestError(f"{where}: got {name} {value!r}, expected a text")
    return value.strip()


def _seconds(values: Mapping[str, Any], name: str, where: str) -> float | None:
    try:
        return seconds_in(values.get(name))
    except ValueError as error:
        raise ManifestError(
            f"{where}: got {name} {values[name]!r}, expected seconds of 0 or more, or nothing"
        ) from error


def captions_in(value: Any, column: str, where: str) -> tuple[str, ...]:
    """The captions of a cell: a text, several, or a list in JSON; raises ManifestError for anything else."""
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            listed = None  # a caption that begins with a bracket
        if isinstance(listed, list) and all(isinstance(text, str) for text in listed):
            value = listed
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ManifestError(f"{where}: got {column} {value!r}, expected a text or a list of texts")
    return tuple(text.strip() for text in texts if text.strip())
