"""What the commands have in common when they print."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from peaframe.errors import FormatError, OptionError
from peaframe.files import atomic_path


def check_destinations(recording: str, **options: Path | None) -> None:
    """Refuse files that cannot be written before any work is done.

    Args:
        recording: what is read, and must not be overwritten.
        options: the file each option names, if it was given.

    Raises:
        FormatError: a file cannot be written there.
        OptionError: a file would take the place of another one, or of the recording.
    """
    taken = {Path(recording).resolve(): "the recording"}
    for name, path in options.items():
        if path is None:
            continue
        if (owner := taken.get(path.resolve())) is not None:
            raise OptionError(f"--{name} {path} is {owner} too; give another file")
        taken[path.resolve()] = f"--{name}"
        with suppress(_EnoughError), atomic_path(path):
            raise _EnoughError  # it can be written; what was there stays as it is


class _EnoughError(Exception):
    pass


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Lay out rows in columns as wide as their longest cell, two spaces apart.

    Args:
        header: the columns' names.
        rows: as many cells each as the header has; line breaks and tabs in a cell become spaces.
        right: the columns that are aligned to the right, by name.

    Returns:
        One line per row behind the header's, each ended by a line break.
    """
    lines = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if name in right else "<" for name in header]
    return "".join(
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def print_text(text: str) -> None:
    """Write to standard output, now; what its encoding lacks is escaped.

    Raises:
        FormatError: it cannot be written, as on a full disk.
        BrokenPipeError: nobody reads it any more.
    """
    encoding = sys.stdout.encoding
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the exit would flush, and fail, again
        if isinstance(error, BrokenPipeError):
            raise
        raise FormatError(f"cannot write to standard output ({error.strerror}); use --output FILE") from error
