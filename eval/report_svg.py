"""The report's curves, as SVG text: a staircase for each label, and their mean.

Pictures carry classes and no colours; the page's style gives them those of light and dark. Every path of a
label has its name as its title and its number as `data-label`, so that a page can single it out.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError
from peaframe.eval.report_words import short

__all__ = ["Curve", "mean_precision", "precision_recall", "psd_roc", "thin"]

MOST_POINTS = 200
_WIDTH, _HEIGHT, _LEFT, _TOP = 398, 300, 50, 10  # of the field inside the axes, and where it starts
_UNITS = 1000  # paths count in thousandths of the field, as whole numbers
_COLUMNS = 1000  # no picture shows more

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A staircase: points `x`, rising, and their levels `y`, both (points,) float64.

    Attributes:
        forward: True if a level holds from its point on (a ROC), False if up to its point (precision over
            recall, whose area is then the average precision).
    """

    x: Floats
    y: Floats
    forward: bool

    @classmethod
    def of(cls, points: Mapping[str, Any], axes: tuple[str, str], forward: bool, what: str) -> Curve:
        """From two lists of an evaluation; points that are null or NaN are left out.

        Args:
            points: The lists by name.
            axes: Which is `x` and which is `y`.
            forward: As above.
            what: Whose curve it is, for messages.

        Raises:
            FormatError: The lists are not there, not of one length, or hold something else than numbers.
        """
        try:
            xs, ys = (np.asarray(points[axis], dtype=np.float64) for axis in axes)
        except KeyError as error:
            raise FormatError(
                f"the curve of {what} has no {error}; expected lists {' and '.join(axes)}"
            ) from error
        except (TypeError, ValueError) as error:
            raise FormatError(f"the curve of {what} holds {error}; expected two lists of numbers") from error
        if xs.ndim != 1 or xs.shape != ys.shape:
            raise FormatError(
                f"the curve of {what} has shapes {xs.shape} and {ys.shape}; expected equal lists"
            )
        real = np.isfinite(xs) & np.isfinite(ys)
        xs, ys = xs[real], ys[real]
        order = np.argsort(xs, kind="stable")
        return cls(xs[order], ys[order], forward)

    def thinned(self, most: int = MOST_POINTS) -> Curve:
        """The same staircase with at most `most` points."""
        if self.forward:
            kept = thin(self.x, self.y, most)
        else:
            kept = len(self.x) - 1 - thin(-self.x[::-1], self.y[::-1], most)[::-1]
        return Curve(self.x[kept], self.y[kept], self.forward)


def thin(x: Floats, y: Floats, most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Which points of a staircase to keep, so that its picture stays the same.

    One point after another is left out, each time the one whose absence moves the least area, counting what
    had been left out before it as gone; the first and the last stay. As a level holds from its point to the
    next, a rising staircase is never drawn above where it is.

    Args:
        x: (points,) rising.
        y: (points,) the level from each point to the next.
        most: How many may stay, at least 2.

    Returns:
        Places of the points that stay, rising.
    """
    kept = np.arange(len(x))
    if len(kept) > 2 * _COLUMNS:  # of those in one column of the picture, the last hides the others
        column = np.floor((x - x[0]) / max(x[-1] - x[0], 1e-300) * _COLUMNS)
        last = np.append(column[1:] != column[:-1], True)
        last[0] = True
        kept = np.flatnonzero(last)
    left = list(range(-1, len(kept) - 1))
    right = list(range(1, len(kept) + 1))
    xs, ys = x[kept].tolist(), y[kept].tolist()

    def loss(i: int) -> float:
        return float(abs(ys[i] - ys[left[i]]) * (xs[right[i]] - xs[i]))

    latest = {i: loss(i) for i in range(1, len(kept) - 1)}
    heap = [(cost, i) for i, cost in latest.items()]
    heapq.heapify(heap)
    while len(latest) + 2 > most and latest:
        cost, i = heapq.heappop(heap)
        if latest.get(i) != cost:
            continue  # gone, or its loss has changed since
        del latest[i]
        right[left[i]], left[right[i]] = right[i], left[i]
        for neighbour in (left[i], right[i]):
            if neighbour in latest:
                latest[neighbour] = loss(neighbour)
                heapq.heappush(heap, (latest[neighbour], neighbour))
    stay = np.array(sorted({0, len(kept) - 1, *latest}), dtype=np.intp)
    return kept[stay[stay < len(kept)]] if len(kept) else kept


def mean_precision(curves: Sequence[Curve]) -> Curve:
    """The labels' mean precision at each of 200 recalls; its area is the mean of their average precisions."""
    recalls = np.linspace(0.0, 1.0, MOST_POINTS + 1)[1:]
    middles = recalls - 0.5 / MOST_POINTS
    levels = [np.append(curve.y, 0.0)[np.searchsorted(curve.x, middles)] for curve in curves]
    return Curve(recalls, np.mean(levels, axis=0), forward=False)


def psd_roc(
    mean: Curve | None, labels: Mapping[str, Curve], places: Mapping[str, int], max_efpr: float
) -> str:
    """True positives over effective false positives: the mean bold, the labels thin.

    Args:
        mean: The effective curve of all labels.
        labels: Each label's own.
        places: Each label's number on the page.
        max_efpr: Where the axis ends, per hour.
    """
    return _field(
        "psd-roc",
        "Effective true positive rate over effective false positives per hour",
        ("effective false positives per hour", [f"{max_efpr * tick / 4:g}" for tick in range(5)]),
        "true positive rate",
        [(places[label], label, _path(curve, max_efpr)) for label, curve in labels.items()],
        _path(mean, max_efpr) if mean is not None else None,
    )


def precision_recall(mean: Curve | None, labels: Mapping[str, Curve], places: Mapping[str, int]) -> str:
    """Precision over recall, drawn as `psd_roc` is."""
    return _field(
        "precision-recall",
        "Precision over recall",
        ("recall", ["0", "0.25", "0.5", "0.75", "1"]),
        "precision",
        [(places[label], label, _path(curve, 1.0)) for label, curve in labels.items()],
        _path(mean, 1.0) if mean is not None else None,
    )


def _path(curve: Curve, width: float) -> str:
    """A staircase in whole thousandths, as steps from where the last one ended."""
    inside = curve.x < width if curve.forward else curve.x <= width
    curve = Curve(curve.x[inside], curve.y[inside], curve.forward).thinned()
    xs = np.rint(np.clip(curve.x / width, 0, 1) * _UNITS).astype(int).tolist()
    ys = np.rint((1 - np.clip(curve.y, 0, 1)) * _UNITS).astype(int).tolist()
    if not xs:
        return ""
    if curve.forward:
        corners = [(0, _UNITS)]
        for x, y in zip(xs, ys, strict=True):
            corners += [(x, corners[-1][1]), (x, y)]
        corners.append((_UNITS, ys[-1]))
    else:
        corners = [(0, ys[0])]
        for x, y in zip(xs, ys, strict=True):
            corners += [(corners[-1][0], y), (x, y)]
    text = f"M{corners[0][0]} {corners[0][1]}"
    for (x0, y0), (x1, y1) in pairwise(corners):
        text += f"h{x1 - x0}" if x1 != x0 else f"v{y1 - y0}" if y1 != y0 else ""
    return text


def _field(
    name: str,
    title: str,
    across: tuple[str, Sequence[str]],
    up: str,
    labels: Sequence[tuple[int, str, str]],
    mean: str | None,
) -> str:
    """Axes, the labels' paths and the mean's."""
    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    parts = [f'<svg id="{name}" class="curves" viewBox="0 0 {right + 12} {bottom + 44}" role="img">']
    parts.append(f"<title>{escape(title)}</title>")
    for tick, text in enumerate(across[1]):
        x = _LEFT + _WIDTH * tick / 4
        parts.append(f'<path class="grid" d="M{x:g} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:g}" y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>')
    for tick in range(5):
        y = bottom - _HEIGHT * tick / 4
        parts.append(f'<path class="grid" d="M{_LEFT} {y:g}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:g}" text-anchor="end">{tick / 4:g}</text>')
    middle = _LEFT + _WIDTH / 2
    parts.append(
        f'<text class="axis" x="{middle:g}" y="{bottom + 38}" text-anchor="middle">{across[0]}</text>'
    )
    parts.append(
        f'<text class="axis" transform="translate(13 {_TOP + _HEIGHT / 2:g}) rotate(-90)" '
        f'text-anchor="middle">{up}</text>'
    )
    scale = f"translate({_LEFT} {_TOP}) scale({_WIDTH / _UNITS:g} {_HEIGHT / _UNITS:g})"
    parts.append(f'<g transform="{scale}">')
    if mean:
        parts.append(f'<path class="area" d="{mean}V{_UNITS}H0Z"/>')
    for place, label, path in labels:
        title = f"<title>{escape(short(label, 80))}</title>"
        parts.append(f'<path class="label" data-label="{place}" d="{path}">{title}</path>')
    if mean:
        parts.append(f'<path class="halo" d="{mean}"/><path class="mean" d="{mean}"/>')
    parts.append('<path class="picked" d=""/></g></svg>')
    return "".join(parts)
