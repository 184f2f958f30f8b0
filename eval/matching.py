"""Which detections are which true events: as many pairs as can be, each detection and each event in one at most.

A detection may be an event's if its onset is within a collar of the event's, and its offset within a collar or a
share of the event's length (Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", 2016).
Most can be only one event's, and the other way round; those are paired at once, and augmenting paths (Kuhn's
algorithm) are followed only inside the small groups that remain. So a day with 20 000 events takes moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["candidates", "groups", "largest_matching", "matched"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def candidates(
    true: Floats, found: Floats, t_collar: float, percentage_of_length: float, *, onset: bool, offset: bool
) -> tuple[Ints, Ints]:
    """Pairs of a true event and a detection that fit each other.

    Args:
        true: (events, 2) onsets and offsets of one label in one recording, in seconds.
        found: (detections, 2) likewise.
        t_collar: Seconds that an onset or offset may be off.
        percentage_of_length: Share of the event's length that its offset may be off, if that is more.
        onset: Whether onsets must agree.
        offset: Whether offsets must agree.

    Returns:
        (pairs,) positions of the events and of the detections.
    """
    key = 0 if onset else 1
    slack = np.maximum(t_collar, percentage_of_length * (true[:, 1] - true[:, 0]))
    reach = np.full(len(true), t_collar) if onset else slack
    order = np.argsort(found[:, key], kind="stable")
    keys = found[order, key]
    margin = 1e-9 * (1 + np.abs(true[:, key])) + 1e-9  # wide here; decided below, on the numbers themselves
    begin = np.searchsorted(keys, true[:, key] - reach - margin, side="left")
    counts = np.searchsorted(keys, true[:, key] + reach + margin, side="right") - begin
    event = np.repeat(np.arange(len(true)), counts)
    inside = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    detection = order[begin[event] + inside]
    fits = np.ones(len(event), dtype=np.bool_)
    if onset:
        fits &= np.abs(true[event, 0] - found[detection, 0]) <= t_collar
    if offset:
        fits &= np.abs(true[event, 1] - found[detection, 1]) <= slack[event]
    return event[fits], detection[fits]


def matched(event: Ints, detection: Ints) -> int:
    """The largest number of pairs that share no event and no detection, given the pairs that fit."""
    if not len(event):
        return 0
    alone = (np.bincount(event)[event] == 1) & (np.bincount(detection)[detection] == 1)
    rest = ~alone
    links: dict[int, list[int]] = {}
    for one, other in zip(event[rest].tolist(), detection[rest].tolist(), strict=True):
        links.setdefault(one, []).append(other)
    return int(alone.sum()) + largest_matching(links)


def largest_matching(links: Mapping[int, Iterable[int]]) -> int:
    """Kuhn's algorithm: the largest number of pairs, given which detections fit each event."""
    owner: dict[int, int] = {}
    total = 0
    for start in links:
        # Each step on the path: an event, and the detections it has yet to try.
        path: list[tuple[int, list[int]]] = [(start, list(links[start])[::-1])]
        taken: list[int] = []
        tried: set[int] = set()
        while path:
            left = path[-1][1]
            step = None
            while left and step is None:
                one = left.pop()
                step = None if one in tried else one
            if step is None:
                path.pop()
                if taken:
                    taken.pop()
                continue
            tried.add(step)
            taken.append(step)
            if step not in owner:
                for (mover, _), one in zip(path, taken, strict=True):
                    owner[one] = mover
                total += 1
                break
            path.append((owner[step], list(links[owner[step]])[::-1]))
    return total


def groups(event: Ints, detection: Ints) -> Ints:
    """Number the groups of pairs that hang together through events or detections they share, (pairs,)."""
    label = np.arange(len(event), dtype=np.intp)
    while True:
        before = label
        for key in (event, detection):
            lowest = np.full(int(key.max(initial=-1)) + 1, len(event), dtype=np.intp)
            np.minimum.at(lowest, key, label)
            label = lowest[key]
        if np.array_equal(before, label):
            return label
