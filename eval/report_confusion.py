"""Which labels are taken for which: the report's table of confusions, as a heat map in SVG.

Cells carry classes and no colours; the page's style gives them those of light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError
from peaframe.eval.report_words import short

__all__ = ["FEW_LABELS", "MOST_LABELS", "Confusion", "heat_map"]

MOST_LABELS = 30
FEW_LABELS = 14
_SHADES = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """How often events of a label were met by detections of which.

    Attributes:
        labels: Names.
        counts: (labels + 1, labels + 1): row, the true label, the last "nothing"; column, what was said, the
            last "missed".
    """

    labels: tuple[str, ...]
    counts: Floats

    @classmethod
    def of(cls, labels: Sequence[str], matrix: Sequence[Sequence[float]]) -> Confusion:
        """From lists as an evaluation has them.

        Raises:
            FormatError: The matrix does not fit the labels.
        """
        size = len(labels) + 1
        try:
            counts = np.asarray(matrix, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise FormatError(f"the matrix of confusion holds {error}; expected numbers") from error
        if counts.shape != (size, size):
            raise FormatError(
                f"the matrix of confusion has shape {counts.shape} for {len(labels)} labels; "
                f"expected ({size}, {size}): one more row (nothing) and column (missed)"
            )
        if not (np.isfinite(counts) & (counts >= 0)).all():
            raise FormatError(
                "the matrix of confusion holds a number that counts nothing; expected 0 or more"
            )
        return cls(tuple(map(str, labels)), counts)

    @property
    def shares(self) -> Floats:
        """Each row over its sum."""
        shares: Floats = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1e-300)
        return shares

    @property
    def between(self) -> Floats:
        """(labels, labels): the counts of one label taken for another."""
        inner = self.counts[:-1, :-1]
        return np.asarray(inner - np.diag(np.diag(inner)))

    def most_confused(self, most: int = MOST_LABELS) -> list[int]:
        """Places of the labels most often taken for another or another for them, in their old order."""
        often = self.between.sum(axis=0) + self.between.sum(axis=1)
        return sorted(np.argsort(-often, kind="stable")[:most].tolist())

    def worst_pairs(self, most: int = 10) -> list[tuple[str, str, float, float]]:
        """True label, said label, how often, and as share of the row; most often first, none that never was."""
        flat = self.between.ravel()
        best = [int(place) for place in np.argsort(-flat, kind="stable")[:most] if flat[place] > 0]
        pairs = [divmod(place, len(self.labels)) for place in best]
        return [(self.labels[i], self.labels[j], self.counts[i, j], self.shares[i, j]) for i, j in pairs]


def heat_map(confusion: Confusion, most: int = MOST_LABELS) -> str:
    """The confusion of the `most` most confused labels, shaded by share of the row."""
    places = [*confusion.most_confused(most), len(confusion.labels)]
    names = [short(name, 24) for name in confusion.labels]
    rows, columns = [*names, "nothing"], [*names, "missed"]
    size = 36 if len(places) <= FEW_LABELS + 1 else 22
    longest = max(len(rows[place]) for place in places)
    gap, left, top = 6, 14 + 8 * longest, 16 + 6 * longest
    spots = [place * size + (gap if place == len(places) - 1 else 0) for place in range(len(places))]
    extent = spots[-1] + size
    width, height = left + extent + 4 * longest, top + extent + 4
    parts = [f'<svg class="heat" viewBox="0 0 {width} {height}" role="img" style="--w:{width}">']
    parts.append("<title>True labels by row, what was said by column</title>")
    for spot, place in zip(spots, places, strict=True):
        odd = ' class="odd"' if place == len(names) else ""
        y, x = top + spot + size / 2 + 4, left + spot + size / 2 + 4
        parts.append(f'<text{odd} x="{left - 8}" y="{y:g}" text-anchor="end">{escape(rows[place])}</text>')
        turn = f"translate({x:g} {top - 8}) rotate(-55)"
        parts.append(f'<text{odd} transform="{turn}">{escape(columns[place])}</text>')
    shares = confusion.shares
    for y, i in zip(spots, places, strict=True):
        for x, j in zip(spots, places, strict=True):
            if i == j == len(names):
                continue  # nothing missed
            count, share = confusion.counts[i, j], float(shares[i, j])
            kind = "hit" if i == j else "miss"
            shade = int(np.ceil(np.sqrt(share) * _SHADES))
            where = f'x="{left + x}" y="{top + y}" width="{size - 1}" height="{size - 1}"'
            said = f"{rows[i]} → {columns[j]}: {count:g} ({100 * share:.1f} %)"
            parts.append(f'<rect class="{kind} s{shade}" {where}><title>{escape(said)}</title></rect>')
            if count and size > 30:
                strong = ' class="strong"' if shade > 6 else ""
                at = f'x="{left + x + size / 2 - 0.5:g}" y="{top + y + size / 2 + 4:g}"'
                parts.append(f'<text{strong} {at} text-anchor="middle">{count:g}</text>')
    parts.append("</svg>")
    return "".join(parts)
