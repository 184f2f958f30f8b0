"""Spans: the runs of frames in which one label's scores are high; everything counted in frames.

`peaframe.events` gives them their seconds and labels. A curve is the float32 scores of one label, of shape
(frames,), from 0 to 1; spans are two integer arrays of shape (spans,): first frames and stops (exclusive), in
order and apart.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_SORTED_VALUES = 1 << 18  # how many values the median filter sorts at a time: 1 MiB


def median_filter(curve: NDArray[np.float32], window_frames: int) -> NDArray[np.float32]:
    """The running median over an odd window, in bounded memory.

    Both ends are treated alike: the curve goes on mirrored (c b a | a b c), the edge itself doubled.
    """
    if window_frames == 1 or not curve.size:
        return curve
    half = window_frames // 2
    windows = sliding_window_view(np.pad(curve, half, mode="symmetric"), window_frames)
    filtered = np.empty_like(curve)
    rows = max(1, _SORTED_VALUES // window_frames)
    for row in range(0, len(curve), rows):
        filtered[row : row + rows] = np.partition(windows[row : row + rows], half, axis=1)[:, half]
    return filtered


def find_spans(
    curve: NDArray[np.float32],
    *,
    threshold: float,
    low: float | None,
    merge_gap_frames: int,
    min_frames: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the curve exceeds the threshold (or, once it did, `low`); gaps closed, then short spans dropped.

    A gap of `merge_gap_frames` is still closed, a span of `min_frames` still kept. Thresholds are compared in
    float32, so that a score stored as 0.1 is not greater than 0.1.
    """
    onsets, stops = _runs(curve > np.float32(threshold if low is None else low))
    if low is not None:  # each run begins at its first frame over the threshold, if it has one
        strong = np.append(np.flatnonzero(curve > np.float32(threshold)), len(curve))
        onsets = strong[np.searchsorted(strong, onsets)]
        onsets, stops = onsets[onsets < stops], stops[onsets < stops]
    if len(onsets) > 1:
        apart = onsets[1:] - stops[:-1] > merge_gap_frames
        onsets, stops = onsets[np.append(True, apart)], stops[np.append(apart, True)]
    kept = stops - onsets >= min_frames
    return onsets[kept], stops[kept]


def find_peaks(
    curve: NDArray[np.float32], onsets: NDArray[np.intp], stops: NDArray[np.intp]
) -> NDArray[np.float32]:
    """The highest value inside each span: shape (spans,)."""
    bounds = np.column_stack([onsets, stops]).ravel()
    # One value more, because a span may stop at the very end and `reduceat` wants indices that exist.
    return np.maximum.reduceat(np.append(curve, np.float32(0)), bounds)[::2]


def _runs(active: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    padded = np.zeros(len(active) + 2, dtype=np.bool_)
    padded[1:-1] = active
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return changes[::2], changes[1::2]
