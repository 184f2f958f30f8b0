"""Metadata tables row by row, each with the place it stands at, so that every complaint can name it."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from peaframe.errors import FormatError

__all__ = ["Row", "header_of", "read_cells", "read_rows", "seconds_of"]

Row = tuple[str, dict[str, str]]


def read_rows(path: Path, columns: Sequence[str], *, header: bool = True) -> Iterator[Row]:
    r"""Read a tab-separated UTF-8 table; a byte order mark, `\r\n` and blank lines do no harm.

    Args:
        path: The table.
        columns: The columns it must have. With a header they may stand in any order, and others are ignored;
            without one, they are the cells from the left.
        header: Whether the first line names the columns.

    Returns:
        An iterator over ("file:line", column -> cell, blanks at its ends removed).

    Raises:
        FormatError: While iterating: the file cannot be read, is not UTF-8, is empty, or has other columns, or
            a line has other separators or another number of cells; with file and line.
    """
    return read_cells(path, columns, header, "\t", _named, _miscounted)


def read_cells(
    path: Path,
    columns: Sequence[str],
    header: bool,
    delimiter: str,
    named: Callable[[list[str], Sequence[str], str], list[str]],
    miscounted: Callable[[list[str], Sequence[str]], str],
) -> Iterator[Row]:
    """What `read_rows` does, with any sign between cells.

    `named` gives the columns by the cells of a header, the columns it must have and its place, or refuses them;
    `miscounted` says what is wrong with cells that are too many or too few for these columns.
    """
    names: list[str] | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                where = f"{path}:{reader.line_num}"
                if not any(cells):
                    continue
                if names is None:
                    names = named(cells, columns, where) if header else list(columns)
                    if header:
                        continue
                if len(cells) != len(names):
                    raise FormatError(f"{where}: {miscounted(cells, names)}")
                yield where, dict(zip(names, cells, strict=True))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except csv.Error as error:
        raise FormatError(f"{path}:{reader.line_num}: not a table ({error}); check the quotes") from error
    if names is None and header:
        raise FormatError(f"{path}:1: got an empty file, expected a header {', '.join(columns)}")


def header_of(path: Path) -> list[str]:
    """The cells of a table's first line; empty where it cannot be read as text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [cell.strip() for cell in file.readline().rstrip("\r\n").split("\t")]
    except (OSError, UnicodeDecodeError):
        return []


def seconds_of(text: str, what: str, where: str) -> float:
    """A cell as seconds.

    Raises:
        FormatError: It is no number, not finite, or negative; the message begins with `where`.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise FormatError(f"{where}: got {what} {text!r}, expected seconds, 0 or more")
    return value


def _named(cells: list[str], columns: Sequence[str], where: str) -> list[str]:
    """The cells of a header, if all columns are among them."""
    missing = [column for column in columns if column not in cells]
    if missing or len(set(cells)) < len(cells):
        problem = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise FormatError(
            f"{where}: header {cells} has {problem}, expected {' '.join(columns)} with tabs between them"
        )
    return cells


def _miscounted(cells: list[str], names: Sequence[str]) -> str:
    """What to say of a line with too many or too few cells."""
    text = "\t".join(cells)
    for separator, called in ((",", "commas"), (";", "semicolons"), (None, "spaces")):
        if len(text.split(separator)) == len(names):
            return f"this line has {called} where others have tabs; put tabs between its cells"
    return f"got {len(cells)} cells with tabs between them, expected {len(names)}: {' '.join(names)}"
