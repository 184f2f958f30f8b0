"""Tables, JSON and lines of text that name clips: what all loaders of clips read, each row with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.audio_files import first_there
from peaframe.eval.benchmarks.rows import Row, read_cells

__all__ = ["read_csv", "read_lines", "read_list", "read_object", "read_text", "table_in", "whole"]


def table_in(data: Path, what: str, *places: str) -> Path:
    """The first of some relative paths that is there.

    Raises:
        FormatError: None is; `what` says whose folder was expected.
    """
    found = first_there(data, *places)
    if found is None:
        raise FormatError(f"{data}: got no {' or '.join(places)} in it; expected the folder of {what}")
    return found


def read_csv(path: Path, columns: Sequence[str], *, header: bool = True) -> Iterator[Row]:
    """Rows of a comma-separated UTF-8 table; arguments and errors as for `peaframe.eval.benchmarks.rows.read_rows`."""
    return read_cells(path, columns, header, ",", _named, _miscounted)


def read_list(path: Path, keys: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """Where each object of a JSON list is, and the texts under two keys.

    Raises:
        FormatError: While iterating: the file is no such list.
    """
    for number, row in enumerate(_read_json(path, list, f"a list of {' and '.join(keys)}")):
        one, other = (row.get(key) for key in keys) if isinstance(row, dict) else (None, None)
        if not isinstance(one, str) or not isinstance(other, str):
            raise FormatError(
                f"{path}, item {number}: got {str(row)[:60]!r}, expected texts under {' and '.join(keys)}"
            )
        yield f"{path}, item {number}", one, other


def read_object(
    path: Path, of: str, key: str, kind: type[Any], called: str
) -> Iterator[tuple[str, str, Any]]:
    """Where each member of a JSON object is, its name, and what it has under a key.

    Args:
        path: The file.
        of: What its members are, for messages.
        key: What each must have,
        kind: as a value of this type,
        called: which messages call so.

    Raises:
        FormatError: While iterating: the file is no such object.
    """
    for name, row in _read_json(path, dict, f"an object of {of} with {key}").items():
        value = row.get(key) if isinstance(row, dict) else None
        if not isinstance(value, kind):
            raise FormatError(f"{path}, {name}: got no {key}, expected {called}")
        yield f"{path}, {name}", name, value


def read_text(path: Path) -> str:
    """A file of UTF-8 text; raises FormatError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as UTF-8 text ({error}); check the file") from error


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Its lines that are not blank, each with "file:line"; errors as `read_text`."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(f"{path}:{number}", line.strip()) for number, line in lines if line.strip()]


def whole(text: str, where: str, what: str = "", expected: str = "a number") -> int:
    """A cell as a number, without what is behind the point; raises FormatError that begins with `where`."""
    try:
        return int(float(text))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: got {what}{text!r}, expected {expected}") from error


def _read_json(path: Path, kind: type[Any], what: str) -> Any:
    """A JSON file that holds something of a kind, and not nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except ValueError as error:
        raise FormatError(f"{path}: is no JSON ({error}); expected {what}") from error
    if not isinstance(content, kind) or not content:
        raise FormatError(f"{path}: got a {type(content).__name__}, expected {what}")
    return content


def _named(cells: list[str], columns: Sequence[str], where: str) -> list[str]:
    """The cells of a header, if all columns are among them."""
    if lacking := [column for column in columns if column not in cells]:
        raise FormatError(f"{where}: got the header {cells}, which lacks {', '.join(lacking)}")
    return cells


def _miscounted(cells: list[str], names: Sequence[str]) -> str:
    """What to say of a line with too many or too few cells."""
    return f"got {len(cells)} cells with commas between them, expected {len(names)}: {' '.join(names)}"
