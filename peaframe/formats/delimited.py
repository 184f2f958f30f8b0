"""Tables with a header line, an event a line: what DCASE's tab-separated and our comma-separated files share.

Cells are quoted as RFC 4180 says, which is also how pandas and the DCASE tools read tab-separated files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats.text import event_of

COLUMNS = ("filename", "onset", "offset", "event_label")


def line(cells: Sequence[str], delimiter: str) -> str:
    """One line of a table, quoted where needed.

    Raises:
        FormatError: a cell holds a null character.
    """
    if any("\0" in cell for cell in cells):
        raise FormatError(f"a table cannot hold the null character in {list(cells)}; rename it or use json")
    special = {delimiter, '"', "\n", "\r"}
    quoted = ('"' + cell.replace('"', '""') + '"' if special & set(cell) else cell for cell in cells)
    return delimiter.join(quoted) + "\n"


def require_name(filename: str) -> str:
    """The recording's name itself, if it is not blank.

    Raises:
        FormatError: it is.
    """
    if not filename.strip():
        raise FormatError(f"got the recording's name {filename!r}, expected one that is not blank")
    return filename


def loads(text: str, source: str, delimiter: str) -> dict[str, list[Event]]:
    """Events by recording; columns in any order, others ignored, `score` may be missing.

    A line that has a filename and nothing else is a recording without events.

    Raises:
        FormatError: a column is missing, or a line is no event; with file and line.
    """
    found: dict[str, list[Event]] = {}
    for where, header, row in read_lines(text, source, delimiter, _header, COLUMNS):
        if len(row) != len(header):
            raise FormatError(f"{where}: got {len(row)} cells, expected {len(header)} as in the header")
        cells = dict(zip(header, row, strict=True))
        filename, onset, offset, label = (cells[column] for column in COLUMNS)
        if not filename.strip():
            raise FormatError(f"{where}: the filename is blank; name the recording")
        events = found.setdefault(filename, [])
        if onset.strip() or offset.strip() or label.strip():
            events.append(event_of(onset, offset, label, cells.get("score", ""), where))
    return found


def read_lines(
    text: str,
    source: str,
    delimiter: str,
    named: Callable[[list[str], str], list[str]],
    columns: Sequence[str],
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Where each line of a table is, the names of its columns and its cells; blank lines are passed over.

    Args:
        text: the table.
        source: the file's name.
        delimiter: what stands between cells.
        named: gives the names of columns by the cells of the header and its place, or refuses them.
        columns: what a message says that a header has.

    Raises:
        FormatError: while iterating: it is no table, or has no header.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            where = f"{source}:{reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = named(row, where)
            else:
                yield where, header, row
    except csv.Error as error:
        raise FormatError(f"{source}:{reader.line_num}: not a table ({error}); check the quotes") from error
    if header is None:
        raise FormatError(f"{source}:1: got an empty file, expected a header {', '.join(columns)}")


def _header(row: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in row]
    missing = [column for column in COLUMNS if column not in names]
    if missing or len(set(names)) < len(names):
        problem = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise FormatError(f"{where}: header {names} has {problem}, expected {', '.join(COLUMNS)}[, score]")
    return names
