"""Which label was heard for which: a table of true labels against what detections at the same time said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.events import Event

__all__ = ["MISSED", "NOTHING", "confusion"]

MISSED, NOTHING = "missed", "nothing"

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_DECIMALS = 6  # of seconds: so close, two labels were heard equally long


def confusion(
    found: Mapping[str, Sequence[Event]], truth: Mapping[str, Sequence[Event]], labels: Sequence[str]
) -> dict[str, Any]:
    """Count, for each true event, what was said while it was heard.

    A true event counts once: as its own label if a detection of that overlaps it; else as the label whose
    detections overlap it longest, if they cover half of it; else as missed. A detection that overlaps no true
    event of any label counts in the row "nothing". One recording may last a day and hold thousands of events.

    Args:
        found: Detected events by recording.
        truth: True events by recording.
        labels: The labels that are scored; others are left out.

    Returns:
        `labels`, and `matrix` of (labels + 1, labels + 1) counts: a row for each true label and one for nothing,
        a column for each label that was said and one for missed.
    """
    place = {label: index for index, label in enumerate(labels)}
    matrix = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.intp)
    for file in set(found) | set(truth):
        real, true = _spans(truth.get(file, ()), place)
        said, heard = _spans(found.get(file, ()), place)
        np.add.at(matrix, (true, _verdicts(real, true, said, heard, missed=len(labels))), 1)
        np.add.at(matrix[len(labels)], heard[~_overlap(said, real)], 1)
    return {"labels": list(labels), "matrix": matrix.tolist()}


def _spans(events: Sequence[Event], place: Mapping[str, int]) -> tuple[Floats, Ints]:
    """Onsets and offsets (events, 2), sorted, and the numbers of their labels (events,)."""
    kept = sorted(event for event in events if event.label in place)
    spans = np.array([(event.onset, event.offset) for event in kept], dtype=np.float64).reshape(-1, 2)
    return spans, np.array([place[event.label] for event in kept], dtype=np.intp)


def _verdicts(real: Floats, true: Ints, said: Floats, heard: Ints, missed: int) -> Ints:
    """What was said of each true event, (events,): the number of a label, or `missed`."""
    verdicts = np.full(len(real), missed, dtype=np.intp)
    longest = np.round(
        (real[:, 1] - real[:, 0]) / 2, _DECIMALS
    )  # what has to be exceeded, or reached at first
    own = np.zeros(len(real), dtype=np.bool_)
    for label in np.unique(heard).tolist():
        theirs = said[heard == label]
        shared = np.round(_shared(real, theirs), _DECIMALS)
        better = (shared > longest) | ((shared == longest) & (shared > 0) & (verdicts == missed))
        verdicts[better], longest[better] = label, shared[better]
        own |= (true == label) & _overlap(real, theirs)
    return np.where(own, true, verdicts)


def _overlap(spans: Floats, others: Floats) -> NDArray[np.bool_]:
    """Whether any of the others, sorted by onset, overlaps each span: (n,)."""
    latest = np.maximum.accumulate(np.concatenate(([0.0], others[:, 1])))
    meets: NDArray[np.bool_] = latest[np.searchsorted(others[:, 0], spans[:, 1])] > spans[:, 0]
    return meets


def _shared(spans: Floats, others: Floats) -> Floats:
    """Seconds of each span in which one of the others, sorted by onset, is heard: (n,)."""
    latest = np.maximum.accumulate(others[:, 1])
    first = np.flatnonzero(np.append(True, others[1:, 0] > latest[:-1]))
    begins, ends = others[first, 0], latest[np.append(first[1:], len(others)) - 1]
    until = np.cumsum(ends - begins)
    knots = np.stack((begins, ends), axis=1).ravel()
    seconds: Floats = np.interp(spans, knots, np.stack((until - (ends - begins), until), axis=1).ravel())
    return seconds[:, 1] - seconds[:, 0]
