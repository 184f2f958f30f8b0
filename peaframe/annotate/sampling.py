"""A few events of each query for a listener: spread over the scores, otherwise by lot.

The range of a query's scores is cut into ten bins of one width. From each bin come about as many events as from any
other, as far as it has them. Which ones is decided by a hash of recording, onset and query: a lot that falls the same
way each time, whatever the order of the recordings, and that gives each event of a bin the same chance.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.summary import QuerySummary
from peaframe.errors import OptionError
from peaframe.events import Event

__all__ = ["Sample", "sample_events", "shares"]

BINS = 10


@dataclass(frozen=True)
class Sample:
    """One chosen event.

    Attributes:
        query: What was listened for.
        name: The recording's name.
        path: Where it can be opened.
        seconds: How long it is.
        time: When the event begins, as ISO 8601 says it, to the millisecond; empty where nobody knows.
        event: The event, with a score.
    """

    query: str
    name: str
    path: str
    seconds: float
    time: str
    event: Event

    @property
    def score(self) -> float:
        """The event's score; 0 where it has none."""
        return self.event.score or 0.0


def sample_events(
    annotated: Callable[[], Iterable[Annotated]], summaries: Sequence[QuerySummary], count: int
) -> list[Sample]:
    """Choose events of each query in one pass; memory grows with queries and `count`, not with recordings.

    Args:
        annotated: Each call is one pass over the recordings.
        summaries: What `summarise` says of them: the queries, each with its lowest and highest score.
        count: How many events of a query at most.

    Returns:
        The chosen, by query in the order of `summaries`, then by rising score. Events without a score are never chosen.

    Raises:
        OptionError: `count` is negative.
    """
    if count < 0:
        raise OptionError(f"got {count} clips for each query; expected 0 or more")
    ranges = {one.query: (one.lowest, one.highest) for one in summaries if one.lowest is not None}
    # In each bin the `count` events with the lowest hashes: a heap with the highest on top, negated.
    kept: dict[tuple[str, int], list[tuple[int, str, float, int, Sample]]] = {}
    number = 0  # so that two events that are the same stay apart
    for recording in annotated() if count else ():
        for event in recording.events:
            lowest, highest = ranges.get(event.label, (None, None))
            if event.score is None or lowest is None or highest is None:
                continue
            heap = kept.setdefault((event.label, _bin(event.score, lowest, highest)), [])
            key = -_lot(recording.name, event.onset, event.label)
            if len(heap) == count and key <= heap[0][0]:
                continue
            when = recording.recorded.at(event.onset) if recording.recorded else None
            time = when.isoformat(timespec="milliseconds") if when else ""
            chosen = Sample(event.label, recording.name, recording.path, recording.seconds, time, event)
            number += 1
            entry = (key, recording.name, event.onset, number, chosen)
            if len(heap) < count:
                heapq.heappush(heap, entry)
            else:
                heapq.heapreplace(heap, entry)
    found: list[Sample] = []
    for query in ranges:
        bins = [sorted(kept.get((query, place), ()), key=lambda entry: entry[:4]) for place in range(BINS)]
        wanted = shares([len(entries) for entries in bins], count)
        some = [
            entry[-1] for entries, share in zip(bins, wanted, strict=True) for entry in entries[::-1][:share]
        ]
        found += sorted(some, key=lambda one: (one.score, one.name, one.event.onset))
    return found


def shares(there: Sequence[int], count: int) -> list[int]:
    """How many to take from each bin: the same from all that have as many, what is left over spread evenly.

    Args:
        there: How many each bin has.
        count: How many to take in all, at most.

    Returns:
        How many from each bin, never more than it has.
    """
    taken = [0] * len(there)
    left = min(count, sum(there))
    while left:
        free = [place for place, has in enumerate(there) if taken[place] < has]
        some = min(left, len(free))
        for turn in range(some):
            taken[free[(2 * turn + 1) * len(free) // (2 * some)]] += 1
        left -= some
    return taken


def _bin(score: float, lowest: float, highest: float) -> int:
    if not highest > lowest:
        return 0
    return min(BINS - 1, max(0, int((score - lowest) / (highest - lowest) * BINS + 1e-9)))


def _lot(name: str, onset: float, query: str) -> int:
    text = f"{name}\0{onset!r}\0{query}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
