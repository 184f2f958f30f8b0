"""Tables for people: aligned columns of text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


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
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
