"""Tables of clips: CSV, TSV, Parquet and JSON lines in, the same with captions out, as `peaframe shards` takes them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peaframe.captions.captioned import Captioned, Failed, provenance
from peaframe.captions.clips import Clip
from peaframe.data.table_rows import (
    SUFFIXES,
    NoObjectError,
    TableError,
    delimiter,
    pyarrow_parquet,
    read_rows,
    seconds_in,
)
from peaframe.errors import FormatError
from peaframe.files import atomic_path

COLUMNS = (
    "media",
    "start",
    "end",
    "audio_caption",
    "visual_caption",
    "audio_visual_caption",
    "transcript",
    "provenance",
    "refused",
)
_KINDS = "expected .csv, .tsv, .parquet or .jsonl"


def read_clips(path: str | Path, base: str | Path | None = None) -> list[Clip]:
    """Read a table of clips.

    Args:
        path: has the column `media`, and may have `start` and `end` in seconds and `transcript`; others are ignored.
        base: folder that relative names of media count from; None means the table's.

    Raises:
        FormatError: it cannot be read, has no `media`, no rows, or a row whose times make no sense.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    folder = path.parent if base is None else Path(base)
    clips = [_clip(path, number, row, folder) for number, row in enumerate(_rows(path), 1)]
    if not clips:
        raise FormatError(f"{path}: has no rows; expected one for each clip")
    return clips


def write_captions(path: str | Path, captioned: Iterable[Captioned], made_by: Mapping[str, Any]) -> None:
    """Write clips with their captions as a table with `COLUMNS`, whole or not at all.

    Names of media that are no absolute paths count from the new table's folder; `provenance` (JSON) has the old ones. A
    caption that was refused is empty, `refused` says why, and `provenance` holds it all the same. An end that is the
    file's is empty.

    Raises:
        FormatError: another suffix than .csv, .tsv, .parquet or .jsonl, or it cannot be written.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    folder = Path(os.path.abspath(path)).parent
    rows = [_row(one, made_by, folder) for one in captioned]
    _write(Path(path), COLUMNS, rows)


def write_failed(path: str | Path, failed: Sequence[Failed]) -> None:
    """Write clips that were left out and why as CSV; without any, no file is left there."""
    if not failed:
        Path(path).unlink(missing_ok=True)
        return
    rows = [
        {"media": one.clip.media, "start": one.clip.start, "end": one.clip.end, "reason": one.reason}
        for one in failed
    ]
    _write(Path(path), ("media", "start", "end", "reason"), rows)


def _row(one: Captioned, made_by: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    media = one.clip.media
    if not os.path.isabs(media):
        media = os.path.relpath(os.path.abspath(one.clip.path), folder)
    captions = {f"{kind}_caption": own.caption for kind, own in one.written.items()}
    return {
        "media": media,
        "start": one.clip.start,
        "end": one.clip.end,
        **{name: captions.get(name, "") for name in COLUMNS[3:6]},
        "transcript": one.clip.transcript,
        "provenance": json.dumps(provenance(one, made_by), ensure_ascii=False, sort_keys=True),
        "refused": one.refused,
    }


def _clip(path: Path, number: int, row: Mapping[str, Any], folder: Path) -> Clip:
    media = row.get("media")
    if "media" not in row:
        raise FormatError(
            f"{path}: row {number} has no column media; expected media, and may be start, end, transcript"
        )
    if not isinstance(media, str) or not media.strip():
        raise FormatError(f"{path}: row {number} has media {media!r}, expected the name of a file")
    start, end = _seconds(path, number, "start", row), _seconds(path, number, "end", row)
    if end is not None and end <= (start or 0.0):
        raise FormatError(
            f"{path}: row {number} ends at {end} s, expected more than its start, {start or 0.0} s"
        )
    transcript = row.get("transcript")
    return Clip(media, folder / media, start or 0.0, end, transcript if isinstance(transcript, str) else "")


def _seconds(path: Path, number: int, name: str, row: Mapping[str, Any]) -> float | None:
    try:
        return seconds_in(row.get(name))
    except ValueError as error:
        raise FormatError(
            f"{path}: row {number} has {name} {row[name]!r}, expected seconds from 0, or nothing"
        ) from error


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() not in SUFFIXES:
        raise FormatError(f"{path}: not a table that can be read; {_KINDS}")
    try:
        yield from read_rows(path)
    except NoObjectError as error:
        raise FormatError(
            f'{path}: line {error.line} is no JSON object; expected one such as {{"media": "a.wav"}}'
        ) from error
    except TableError as error:
        raise FormatError(f"{path}: {error}") from error


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FormatError(f"{path}: not a table that can be written; {_KINDS}")
    parquet = pyarrow_parquet() if suffix == ".parquet" else None
    with atomic_path(path) as part:
        if parquet is not None:
            parquet.write_table(_arrow(columns, rows), part)
        elif suffix == ".jsonl":
            lines = (json.dumps({name: row[name] for name in columns}, ensure_ascii=False) for row in rows)
            part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
        else:
            with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
                writer = csv.DictWriter(file, columns, delimiter=delimiter(path), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def _arrow(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    import pyarrow

    types = {name: pyarrow.float64() if name in ("start", "end") else pyarrow.string() for name in columns}
    return pyarrow.Table.from_pylist([dict(row) for row in rows], schema=pyarrow.schema(types))
