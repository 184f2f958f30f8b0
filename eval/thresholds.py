"""Every detection that any threshold can make, found at once.

With a strict threshold t, a run of frames is one detection while each of its scores is above t and those of
its two neighbours are not. So every detection of any threshold is the widest run around some frame in which
no score is lower than that frame's, and lives for t in [higher neighbour, lowest score inside). There are
never more of them than frames. Idea after Ebbers, Serizel and Haeb-Umbach, "Threshold-independent evaluation
of sound event detection scores", ICASSP 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from peaframe.scores import Scores

__all__ = ["Detections", "Strip", "last_of_ties", "lay", "onset_changes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Strip:
    """One label's scores in several recordings, laid end to end with a wall before, between and after them.

    The frame at position p of `values` begins at edge p - 1 and ends at edge p.

    Attributes:
        scores: The recordings' scores.
        values: (frames + recordings + 1,) the label's; walls are minus infinity.
        first: (recordings + 1,) where each recording's edges begin in `edges`, and where the last one's end;
            also where the walls stand in `values`.
    """

    scores: tuple[Scores, ...]
    values: NDArray[np.float32]
    first: Ints

    @cached_property
    def edges(self) -> Floats:
        """(frames + recordings,) frame edges in seconds of their own recording."""
        return np.concatenate([item.edges for item in self.scores])


@dataclass(frozen=True)
class Detections:
    """Detections with the thresholds that make them; all arrays (detections,), in the order of recordings.

    Attributes:
        start: Index of the edge where each begins.
        end: Index of the edge where it ends.
        high: It exists for thresholds under this, its lowest score.
        low: It exists for thresholds from this on, its higher neighbour's score (minus infinity: always).
    """

    start: Ints
    end: Ints
    high: NDArray[np.float32]
    low: NDArray[np.float32]

    @classmethod
    def of(cls, strip: Strip) -> Detections:
        """Find all detections in a strip; time and memory grow as its length (times log, at the worst)."""
        values = strip.values
        before = _nearest_before(values, or_equal=True)
        after = len(values) - 1 - _nearest_before(values[::-1], or_equal=False)[::-1]
        # Equal scores in one run make the same detection: keep its first frame, which has a lower one before.
        one = np.flatnonzero(np.isfinite(values) & (values[before] < values))
        before, after = before[one], after[one]
        return cls(before, after - 1, values[one], np.maximum(values[before], values[after]))

    def where(self, keep: NDArray[np.bool_] | slice) -> Detections:
        """The detections marked in `keep`, (detections,), or in that range."""
        return Detections(self.start[keep], self.end[keep], self.high[keep], self.low[keep])


def lay(scores: Sequence[Scores], label: str) -> Strip:
    """Lay one label's scores of several recordings end to end."""
    frames = np.array([item.frames for item in scores], dtype=np.intp)
    first = np.concatenate(([0], np.cumsum(frames + 1))).astype(np.intp)
    values = np.full(first[-1] + 1, -np.inf, dtype=np.float32)
    for item, begin, end in zip(scores, first[:-1].tolist(), first[1:].tolist(), strict=True):
        values[begin + 1 : end] = item[label]
    return Strip(tuple(scores), values, first)


def onset_changes(strip: Strip) -> tuple[NDArray[np.float32], Ints]:
    """How the number of detections changes as the threshold sinks.

    Returns:
        Thresholds and, for each, the detections gained (+1) or lost (-1) by sinking under it.
    """
    rises = np.flatnonzero(strip.values[1:] > strip.values[:-1])
    births, deaths = strip.values[rises + 1], strip.values[rises]
    deaths = deaths[np.isfinite(deaths)]
    steps = np.ones(len(births) + len(deaths), dtype=np.intp)
    steps[len(births) :] = -1
    return np.concatenate((births, deaths)), steps


def last_of_ties(*keys: NDArray[np.float32] | Ints) -> NDArray[np.bool_]:
    """Mark each sorted element whose successor differs in one of the keys; all arrays (elements,)."""
    last = np.ones(len(keys[0]), dtype=np.bool_)
    last[:-1] = False
    for key in keys:
        last[:-1] |= key[1:] != key[:-1]
    return last


def _nearest_before(values: NDArray[np.float32], or_equal: bool) -> Ints:
    """For each element the position of the nearest lower (or equal) one before it; -1 if there is none.

    Climbs a pyramid of minima of 2, 4, 8 ... elements until a block to the left holds a lower one, then comes
    down inside it, all elements together. Most find theirs within a few steps.
    """
    pyramid = [values]
    while len(pyramid[-1]) > 1:
        level = pyramid[-1]
        if len(level) % 2:
            level = np.append(level, np.float32(np.inf))
        pyramid.append(np.minimum(level[0::2], level[1::2]))
    below = np.less_equal if or_equal else np.less
    seekers = np.arange(len(values), dtype=np.intp)
    blocks = seekers
    found: list[tuple[Ints, Ints]] = []
    for level in pyramid:
        left = np.maximum(blocks - 1, 0)
        hit = (blocks % 2 == 1) & below(level[left], values[seekers])
        found.append((seekers[hit], left[hit]))
        seekers, blocks = seekers[~hit], blocks[~hit] // 2
    return _descend(pyramid, found, below)


def _descend(pyramid: Sequence[NDArray[np.float32]], found: list[tuple[Ints, Ints]], below: np.ufunc) -> Ints:
    """Come down from the blocks found at each level to the last element in each that is lower."""
    values = pyramid[0]
    seekers = np.empty(0, dtype=np.intp)
    blocks = np.empty(0, dtype=np.intp)
    for height in range(len(pyramid) - 1, 0, -1):
        seekers = np.concatenate((seekers, found[height][0]))
        blocks = 2 * np.concatenate((blocks, found[height][1]))
        right = np.minimum(blocks + 1, len(pyramid[height - 1]) - 1)
        blocks = np.where(below(pyramid[height - 1][right], values[seekers]), right, blocks)
    nearest = np.full(len(values), -1, dtype=np.intp)
    nearest[seekers], nearest[found[0][0]] = blocks, found[0][1]
    return nearest
