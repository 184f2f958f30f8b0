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
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Changes", "Detections", "Strip", "Sweep", "last_of_ties", "onset_changes"]

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


@dataclass(frozen=True)
class Changes:
    """Something that is gained or lost as a threshold sinks under scores; all arrays (changes,).

    Attributes:
        kind: What it is.
        thresholds: Under which scores.
        steps: How much is gained, or lost if negative.
        recordings: In which recordings.
    """

    kind: int
    thresholds: NDArray[np.float32]
    steps: NDArray[np.generic]
    recordings: Ints


def onset_changes(strip: Strip, kind: int) -> Changes:
    """How the number of detections changes: each rise of scores from d to b is an onset in [d, b)."""
    rises = np.flatnonzero(strip.values[1:] > strip.values[:-1])
    births, deaths = strip.values[rises + 1], strip.values[rises]
    mortal = np.isfinite(deaths)
    owner = strip.recording(rises)
    steps = np.ones(len(rises) + int(mortal.sum()), dtype=np.int8)
    steps[len(rises) :] = -1
    return Changes(
        kind, np.concatenate((births, deaths[mortal])), steps, np.concatenate((owner, owner[mortal]))
    )


class Sweep:
    """All changes in the order of a threshold that sinks from over all scores to under all.

    Attributes:
        marks: (marks,) distinct thresholds, falling; counts "at" a mark hold just under it.
    """

    def __init__(self, changes: Sequence[Changes]) -> None:
        """Put changes in order."""
        order, thresholds = _falling(np.concatenate([part.thresholds for part in changes]))
        last = last_of_ties(thresholds)
        self.marks = thresholds[last]
        self._last = np.flatnonzero(last)
        kinds = np.concatenate([np.full(len(part.steps), part.kind, dtype=np.int16) for part in changes])[
            order
        ]
        steps = np.concatenate([np.asarray(part.steps, dtype=np.float64) for part in changes])[order]
        # Apart: each kind under 0, and all others together.
        self._parts: dict[int, _Part] = {}
        for kind in {min(part.kind, 0) for part in changes}:
            own = kinds == kind if kind < 0 else kinds >= 0
            places = np.flatnonzero(own)
            upto = np.cumsum(own)[self._last]
            self._parts[kind] = _Part(changes, order[places], places, upto, steps[places], kinds[places])

    def places(self, kind: int) -> Ints:
        """The marks at which something of a kind under 0 changes, (n,) rising positions in `marks`."""
        return np.unique(np.searchsorted(self._last, self._parts[kind].places))

    def counts(self, kind: int, weights: Floats | None = None) -> Floats:
        """How many of a kind under 0 there are at each mark, (marks,).

        Args:
            kind: Which.
            weights: (recordings,) how often each recording counts; once by default.
        """
        part = self._parts[kind]
        return part.sums(part.steps if weights is None else part.steps * weights[part.owners])

    def costs(self, prices: Floats, weights: Floats | None = None) -> Floats:
        """What all of the kinds from 0 on cost together at each mark, (marks,), at a price for each kind."""
        if 0 not in self._parts:
            return np.zeros(len(self.marks))
        part = self._parts[0]
        costs = part.steps * prices[part.kinds]
        return part.sums(costs if weights is None else costs * weights[part.owners])


@dataclass(frozen=True)
class _Part:
    """Changes of some kinds in order: where they stand among all, and how many there are up to each mark."""

    changes: Sequence[Changes]
    unsorted: NDArray[np.integer[Any]]
    places: Ints
    upto: Ints
    steps: Floats
    kinds: NDArray[np.int16]

    @cached_property
    def owners(self) -> NDArray[np.int32]:
        """Whose change each is; only asked for where recordings have weights."""
        owners = np.concatenate([part.recordings.astype(np.int32) for part in self.changes])
        return np.take(owners, self.unsorted)

    def sums(self, steps: Floats) -> Floats:
        sums = np.zeros(len(steps) + 1)
        np.cumsum(steps, out=sums[1:])
        return sums[self.upto]


def _falling(values: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Positions of the values from the greatest to the least, equal ones as they stand, and the sorted values.

    Each value and its position are packed into one whole number that sorts like them, several times as quick as
    a stable argsort of floats.
    """
    bits = (values + np.float32(0)).view(np.uint32)  # no negative zero
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    packed = (~rising).astype(np.uint64) << np.uint64(32)
    packed |= np.arange(len(values), dtype=np.uint64)
    packed.sort()
    order = packed.astype(np.uint32)
    return order, values[order]


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
