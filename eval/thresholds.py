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

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detections", "Onsets", "Strip", "last_of_ties"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Strip:
    """One label's scores in several recordings, laid end to end with a wall before, between and after them.

    The frame at position p of `values` begins at edge p - 1 and ends at edge p.

    Attributes:
        values: (frames + recordings + 1,) the label's; walls are minus infinity.
        first: (recordings + 1,) where each recording's edges begin in `edges`, and where the last one's end;
            also where the walls stand in `values`.
        edges: (frames + recordings,) frame edges in seconds of their own recording.
    """

    values: Singles
    first: Ints
    edges: Floats

    @classmethod
    def of(cls, column: Singles, frames: Ints, edges: Floats) -> Strip:
        """Lay scores (frames of all,) of recordings of so many frames (recordings,) end to end."""
        first = np.concatenate(([0], np.cumsum(frames + 1))).astype(np.intp)
        inside = np.ones(first[-1] + 1, dtype=np.bool_)
        inside[first] = False
        values = np.full(len(inside), -np.inf, dtype=np.float32)
        values[inside] = column
        return cls(values, first, edges)

    def recording(self, edge: Ints) -> Ints:
        """Which recording each edge belongs to, by position: (n,) -> (n,)."""
        return np.searchsorted(self.first, edge, side="right") - 1


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

    def where(self, keep: NDArray[np.bool_] | Ints | slice) -> Detections:
        """The detections marked in `keep`, (detections,), or at these positions, or in that range."""
        return Detections(self.start[keep], self.end[keep], self.high[keep], self.low[keep])


class Onsets:
    """How many detections there are under each threshold: scores that rise, seen from below.

    A rise from d to b is the onset of a detection for thresholds in [d, b), of one more until the next rise.
    """

    def __init__(self, strip: Strip, by_recording: bool = False) -> None:
        """Sort the rises of a strip.

        Args:
            strip: One label's scores.
            by_recording: Also remember whose rise it is, so that recordings may be weighted.
        """
        rises = np.flatnonzero(strip.values[1:] > strip.values[:-1])
        births, deaths = strip.values[rises + 1], strip.values[rises]
        mortal = np.isfinite(deaths)
        self._owners: tuple[Ints, Ints] | None = None
        if by_recording:
            owner = strip.recording(rises)
            last, first = np.argsort(births, kind="stable"), np.argsort(deaths[mortal], kind="stable")
            self._births, self._deaths = births[last], deaths[mortal][first]
            self._owners = owner[last], owner[mortal][first]
        else:
            self._births, self._deaths = np.sort(births), np.sort(deaths[mortal])
        self._born_at_deaths = np.searchsorted(self._births, self._deaths, side="left")

    def under(self, thresholds: Singles, weights: Floats | None = None) -> Floats:
        """Detections just under each threshold, (n,); `weights` counts recordings so often, (recordings,)."""
        born, died = self._above(weights)
        births = np.searchsorted(self._births, thresholds, side="left")
        deaths = np.searchsorted(self._deaths, thresholds, side="left")
        return born[births] - died[deaths]

    def fewest(self, marks: Singles, weights: Floats | None = None) -> Floats:
        """The fewest detections of any threshold in [marks[i + 1], marks[i]); the last range has no end.

        Args:
            marks: (n,) falling thresholds.
            weights: (recordings,) how often each recording counts; once by default.

        Returns:
            (n,) detections.
        """
        if not len(marks):
            return np.zeros(0)
        born, died = self._above(weights)
        ends = np.searchsorted(self._deaths, marks, side="left")
        starts = np.searchsorted(self._deaths, np.append(marks[1:], -np.float32(np.inf)), side="right")
        at_deaths = np.append(born[self._born_at_deaths] - died[: len(self._deaths)], np.inf)
        pairs = np.stack((starts, ends), axis=1)[::-1].ravel()  # rising
        lowest = np.minimum.reduceat(at_deaths, np.minimum(pairs, len(at_deaths) - 1))[::2][::-1]
        lowest = np.where(starts < ends, lowest, np.inf)
        return np.minimum(lowest, self.under(marks, weights))

    def between(self, low: np.float32, high: np.float32, count: float) -> float:
        """A threshold in [low, high) under which there are `count` detections, away from all scores if it can be."""
        inside = self._deaths[(self._deaths > low) & (self._deaths < high)]
        tops = np.append(np.unique(inside)[::-1], high)
        top = tops[np.flatnonzero(self.under(tops) == count)[0]]
        under = [x[x < top] for x in (self._births, self._deaths)]
        bottom = max([low, *(x[-1] for x in under if len(x))])
        if not np.isfinite(bottom):
            return float(np.nextafter(top, -np.float32(np.inf)))
        middle = float(bottom) + (float(top) - float(bottom)) / 2
        return middle if np.float32(middle) < top else float(bottom)

    def _above(self, weights: Floats | None) -> tuple[Floats, Floats]:
        """For each sorted birth, and death, how many are not under it; and zero behind the last."""
        if weights is None:
            return np.arange(len(self._births), -1.0, -1.0), np.arange(len(self._deaths), -1.0, -1.0)
        if self._owners is None:
            raise ValueError("these onsets forgot their recordings")
        born, died = (weights[owner] for owner in self._owners)
        return _sums_from(born), _sums_from(died)


def _sums_from(values: Floats) -> Floats:
    """The sum of each element and all behind it, and zero at the end: (n,) -> (n + 1,)."""
    sums = np.zeros(len(values) + 1)
    sums[:-1] = np.cumsum(values[::-1])[::-1]
    return sums


def last_of_ties(*keys: NDArray[np.generic]) -> NDArray[np.bool_]:
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
