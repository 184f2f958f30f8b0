"""The report's pictures, as SVG text: heat maps with their sums, and histograms of scores.

Pictures carry classes and no colours; the page's style gives them those of light and dark. The shade of a cell grows
with the square root of its count, so that small ones show. Texts are escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from peaframe.annotate.summary import clean

__all__ = ["Heat", "heat_map", "histogram", "short"]

_SHADES = 10
_SUM = 56  # how long a row's sum is drawn at most
_ABOVE = 26  # the same of a column's sum
_LETTER = 7.4


@dataclass(frozen=True)
class Heat:
    """What a heat map shows.

    Attributes:
        rows: Names of the rows.
        columns: Names of the columns; blank ones are not written.
        full: Full names of the columns, for the titles of cells.
        counts: (rows, columns) int64.
        heard: (rows, columns) seconds of recording; cells without stay blank.
        sums: (rows,) what is written at the right of each row.
        gaps: Rows before which something is left out.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    full: Sequence[str]
    counts: NDArray[np.int64]
    heard: NDArray[np.float64]
    sums: NDArray[np.int64]
    gaps: frozenset[int] = frozenset()


def heat_map(heat: Heat, title: str, cell: tuple[int, int] = (18, 15), *, each_row: bool = False) -> str:
    """A heat map; each cell that has a count says it in its title.

    Args:
        heat: What it shows.
        title: What it is, for those who cannot see it.
        cell: Width and height of a cell, in pixels.
        each_row: Whether shades compare the cells of a row only, and no sums of columns stand above.
    """
    wide, high = cell
    names = [short(name, 24) for name in heat.rows]
    left = round(max((len(name) for name in names), default=0) * _LETTER) + 10
    above = 6 if each_row else _ABOVE + 4
    right = left + wide * len(heat.columns)
    tops, y = [], above
    for row in range(len(names)):
        y += 7 if row in heat.gaps else 0
        tops.append(y)
        y += high
    width, height = right + 12 + _SUM + 52, y + 20
    parts = [
        f'<svg class="heat" style="--w:{width}" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(clean(title))}</title>"
    ]
    path = "".join(
        f"M{left + wide * int(column)} {tops[int(row)]}h{wide - 1}v{high - 1}h{1 - wide}z"
        for row, column in zip(*np.nonzero(heat.heard > 0), strict=True)
    )
    parts.append(f'<path class="heard" d="{path}"/>')
    gaps = "".join(f"M0 {tops[row] - 4}H{right}" for row in sorted(heat.gaps))
    parts += [f'<path class="gap" d="{gaps}"/>'] if gaps else []
    if not each_row:
        parts.append(_above(heat, left, above - 3, wide))
    most = int(heat.sums.max(initial=0)) or 1
    for row, (name, top) in enumerate(zip(names, tops, strict=True)):
        baseline = top + high / 2 + 3.5
        parts.append(f'<text x="{left - 7}" y="{baseline:g}" text-anchor="end">{escape(name)}</text>')
        if total := int(heat.sums[row]):
            long = max(1.0, total / most * _SUM)
            parts.append(
                f'<rect class="sum" x="{right + 8}" y="{top + 2}" width="{long:.1f}" height="{high - 5}"/>'
            )
            parts.append(f'<text x="{right + 13 + long:.0f}" y="{baseline:g}">{total:,}</text>')
    parts.append(f'<g class="cells">{_cells(heat, left, tops, cell, each_row)}</g>')
    for column, name in enumerate(heat.columns):
        if name:
            x = left + wide * column
            parts.append(f'<text x="{x}" y="{height - 5}">{escape(short(name, 24))}</text>')
    parts.append("</svg>")
    return "".join(parts)


def _cells(heat: Heat, left: int, tops: Sequence[int], cell: tuple[int, int], each_row: bool) -> str:
    """A rectangle for each cell with a count."""
    top = int(heat.counts.max(initial=0))
    parts = []
    for row, column in zip(*np.nonzero(heat.counts), strict=True):
        count = int(heat.counts[row, column])
        most = int(heat.counts[row].max()) if each_row else top
        shade = max(1, math.ceil(_SHADES * math.sqrt(count / most)))
        text = escape(f"{clean(heat.rows[row])} {heat.full[column]}: {count}")
        parts.append(
            f'<rect class="s{shade}" x="{left + cell[0] * column}" y="{tops[row]}" width="{cell[0] - 1}" '
            f'height="{cell[1] - 1}"><title>{text}</title></rect>'
        )
    return "".join(parts)


def _above(heat: Heat, left: int, bottom: int, wide: int) -> str:
    """The sums of the columns, as bars that stand on the map."""
    sums = heat.counts.sum(axis=0)
    most = int(sums.max(initial=0)) or 1
    bars = (
        f"M{left + wide * place} {bottom}h{wide - 1}v{-max(1.0, total / most * _ABOVE):.1f}h{1 - wide}z"
        for place, total in enumerate(sums.tolist())
        if total
    )
    return f'<path class="sum" d="{"".join(bars)}"/>'


def histogram(bins: Sequence[int]) -> str:
    """Counts of scores from 0 to 1, as bars; the fullest one fills the height."""
    most = max(bins, default=0) or 1
    wide = 90 // max(1, len(bins))
    bars = []
    for place, count in enumerate(bins):
        if count:
            high = max(1.0, count / most * 24)
            low, end = place / len(bins), (place + 1) / len(bins)
            bars.append(
                f'<rect x="{1 + wide * place}" y="{25 - high:.1f}" width="{wide - 1}" height="{high:.1f}">'
                f"<title>{low:.1f} to {end:.1f}: {count}</title></rect>"
            )
    said = ", ".join(map(str, bins))
    return (
        f'<svg class="scores" viewBox="0 0 92 26" role="img" aria-label="events by score, 0 to 1: {said}">'
        f'<path d="M1 25.5h{wide * len(bins)}"/>{"".join(bars)}</svg>'
    )


def short(text: object, most: int) -> str:
    """Clean text of at most `most` signs; a long one loses its middle."""
    kept = clean(text)
    if len(kept) <= most:
        return kept
    tail = (most - 1) // 2
    return f"{kept[: most - 1 - tail].rstrip()}…{kept[-tail:].lstrip()}"
