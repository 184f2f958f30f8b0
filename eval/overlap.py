"""Detections of one decision against true events, by how much they cover each other: intersection F1.

The criteria are those of PSDS at a single operating point (Bilen et al., ICASSP 2020); with both shares at 0.5 the
macro F-score is the intersection-based F1 of DCASE task 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.eval.counts import Counts, scored_labels, spans_by_label
from peaframe.events import Event

__all__ = ["intersection_counts", "reaches"]

Floats = NDArray[np.float64]

_FUZZ = 1e-6  # seconds: a share missed by float noise only is reached, as everywhere in this package


def intersection_counts(
    estimated: Mapping[str, Sequence[Event]],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    dtc: float = 0.5,
    gtc: float = 0.5,
) -> Counts:
    """Count what is detected well enough.

    A detection is right if true events of its label cover at least `dtc` of it; a true event is hit if right
    detections cover at least `gtc` of it. Events of one label that overlap or touch are merged first, on both
    sides. The F-score is 2 hits / (2 hits + misses + false alarms), as in psds_eval.

    Args:
        estimated: Detected events by recording; a recording without a key has none.
        truth: True events by recording; a recording without a key has none.
        labels: Score these labels only; by default all that occur.
        dtc: Share of a detection, in (0, 1].
        gtc: Share of a true event, in (0, 1].

    Raises:
        OptionError: A share out of range, or no label has ground truth.
    """
    for name, share in (("dtc", dtc), ("gtc", gtc)):
        if not 0 < share <= 1:
            raise OptionError(f"got {name} {share:g}; expected a share over 0 and up to 1")
    scored, unscored = scored_labels(estimated, truth, labels)
    files = tuple(sorted(set(estimated) | set(truth)))
    true, hit, found, right = np.zeros((4, len(files), len(scored)), dtype=np.int64)
    for row, file in enumerate(files):
        real = spans_by_label(truth.get(file, ()), merge=True)
        claimed = spans_by_label(estimated.get(file, ()), merge=True)
        for column, label in enumerate(scored):
            events, detections = real.get(label), claimed.get(label)
            true[row, column] = 0 if events is None else len(events)
            found[row, column] = 0 if detections is None else len(detections)
            if events is not None and detections is not None:
                relevant = detections[reaches(detections, events, dtc)]
                right[row, column] = len(relevant)
                hit[row, column] = int(reaches(events, relevant, gtc).sum()) if len(relevant) else 0
    return Counts(files, tuple(scored), unscored, true, hit, found, right)


def _covered_seconds(spans: Floats, by: Floats) -> Floats:
    if not len(by):
        return np.zeros(len(spans))
    lengths = by[:, 1] - by[:, 0]
    totals = np.stack((np.cumsum(lengths) - lengths, np.cumsum(lengths)), axis=1).ravel()
    before: Floats = np.interp(spans, by.ravel(), totals)
    return before[:, 1] - before[:, 0]


def reaches(spans: Floats, by: Floats, share: float) -> NDArray[np.bool_]:
    """Whether others (m, 2), sorted and disjoint, cover at least a share of each span (n, 2): (n,)."""
    lengths = spans[:, 1] - spans[:, 0]
    reached: NDArray[np.bool_] = _covered_seconds(spans, by) >= np.maximum(share * lengths - _FUZZ, _FUZZ)
    return reached
