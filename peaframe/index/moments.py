"""Where in a recording something is: the best moment of a row of scores, and how alike sounds are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import frame_start_seconds

__all__ = ["best_moment", "likeness", "unit"]

FALL = 0.5
"""A moment goes on while the score stays above this share of its peak (ours)."""
_ROWS = 1 << 13  # a day's frames are two million
Floats = NDArray[np.float32]


def unit(rows: NDArray[Any]) -> Floats:
    """Rows (n, dim) at unit length, in float32; rows of zeros stay."""
    values = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Floats = values / np.where(lengths > 0, lengths, np.float32(1))
    return scaled


def likeness(frames: NDArray[Any], sound: NDArray[Any]) -> Floats:
    """How alike each frame (frames, dim) and a sound's frames (n, dim), averaged, are: (frames,) cosines, 0 to 1.

    Cosines below 0 say no more than 0 does, and count as 0.
    """
    mean = unit(unit(sound).mean(axis=0, keepdims=True))[0]
    cosines = np.empty(len(frames), np.float32)
    for first in range(0, len(frames), _ROWS):
        cosines[first : first + _ROWS] = np.clip(unit(frames[first : first + _ROWS]) @ mean, 0.0, 1.0)
    return cosines


def best_moment(scores: NDArray[Any], duration: float) -> tuple[float, float, float]:
    """The moment round the highest score.

    Args:
        scores: (frames,) of 0 or more, one each 40 ms.
        duration: Seconds of the recording; no moment ends behind it.

    Returns:
        Start and end in seconds, and the highest score; the first of several equal ones.
    """
    values = np.asarray(scores, dtype=np.float64)
    peak = int(values.argmax())
    low = values <= values[peak] * FALL
    low[peak] = False
    before, behind = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak:])
    first = int(before[-1]) + 1 if len(before) else 0
    stop = peak + int(behind[0]) if len(behind) else len(values)
    return frame_start_seconds(first), min(frame_start_seconds(stop), duration), float(values[peak])
