"""Tables row by row, as they stand: CSV, TSV, JSON lines or Parquet, as their suffix says."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peaframe.errors import MissingExtraError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
Row = dict[str, Any]
Check = Callable[[list[str]], None]


class TableError(ValueError):
    """What is wrong with a table, without its name."""


class NoObjectError(TableError):
    """A line of a file of JSON lines that holds no object.

    Attributes:
        line: its number, from 1.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_rows(table: Path, check: Check = lambda names: None) -> Iterator[Row]:
    """The rows of a table with one of `SUFFIXES`, one after the other; a number that is none (NaN) is None.

    A row of CSV and TSV that is too short has None at its end, one that is too long has the rest under None.

    Args:
        table: the file.
        check: is given the names of columns, where a file says them before its rows; it may raise something.

    Raises:
        TableError: while iterating: it cannot be read, or is no such table.
        MissingExtraError: Parquet without pyarrow.
    """
    read = {".jsonl": _json_lines, ".parquet": _parquet}.get(table.suffix.lower(), _separated)
    try:
        for row in read(table, check):
            yield {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in row.items()
            }
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"cannot be read ({reason}); give a table in UTF-8") from error


def delimiter(table: Path) -> str:
    """What stands between the cells of a CSV or TSV, by its suffix."""
    return "\t" if table.suffix.lower() == ".tsv" else ","


def pyarrow_parquet() -> Any:
    """The module of that name; raises MissingExtraError without it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet") from error
    return pyarrow.parquet


def seconds_in(value: Any) -> float | None:
    """A cell as seconds; None if it is blank.

    Raises:
        ValueError: it is no number, not finite, or negative.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{value!r} is no number") from error
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{value!r} is not 0 or more")
    return seconds


def _separated(table: Path, check: Check) -> Iterator[Row]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter(table), strict=True)
        try:
            check(list(reader.fieldnames or ()))
            yield from reader
        except csv.Error as error:
            raise TableError(f"line {reader.line_num}: {error}; give a well-formed table") from error


def _json_lines(table: Path, check: Check) -> Iterator[Row]:
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise NoObjectError(number, f"is no JSON ({error}); expected an object a line") from error
            if not isinstance(values, dict):
                raise NoObjectError(number, f"got {line.strip()[:40]!r}, expected an object")
            yield values


def _parquet(table: Path, check: Check) -> Iterator[Row]:
    parquet = pyarrow_parquet()
    from pyarrow import ArrowException

    try:
        with table.open("rb") as source, parquet.ParquetFile(source) as file:
            check(list(file.schema_arrow.names))
            for batch in file.iter_batches(1024):
                yield from batch.to_pylist()
    except ArrowException as error:
        first = " ".join(str(error).split())
        raise TableError(f"is no Parquet file that can be read ({first})") from error
