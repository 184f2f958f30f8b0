"""Audio grounding: one recording, one described sound; do the times found meet the true ones?

Intersection over union (IoU) of two sets of intervals is how long both hold, over how long one or both do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peaframe.errors import OptionError
from peaframe.events import Event, merge_events

__all__ = ["GroundedQuery", "GroundingResult", "grounding"]

_DECIMALS = 9  # an IoU is rounded to so many before it is compared


@dataclass(frozen=True, slots=True)
class GroundedQuery:
    """How one query was answered in one recording.

    Attributes:
        recording: Where.
        label: What was asked for.
        iou: IoU of all intervals found with all true ones, overlaps merged; 0 if none was found.
        best_iou: IoU of the one interval with the highest score with the true interval it meets best; 0 if none
            was found.
        found: How many intervals were found.
    """

    recording: str
    label: str
    iou: float
    best_iou: float
    found: int


@dataclass(frozen=True, slots=True)
class GroundingResult:
    """How queries were answered.

    Attributes:
        mean_iou: Mean `iou` over queries.
        recall_at: For each IoU asked for, the share of queries whose `iou` is at least that.
        mean_best_iou: Mean `best_iou` over queries.
        best_recall_at: For each IoU asked for, the share of queries whose `best_iou` is at least that: R@1.
        queries: Every query, by recording, then label.
        ignored: Intervals found for pairs of recording and label that have no true one, and so are no query.
    """

    mean_iou: float
    recall_at: dict[float, float]
    mean_best_iou: float
    best_recall_at: dict[float, float]
    queries: tuple[GroundedQuery, ...]
    ignored: int


def grounding(
    estimated: Mapping[str, Sequence[Event]],
    truth: Mapping[str, Sequence[Event]],
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
) -> GroundingResult:
    """Compare what was found with what is true, for each pair of recording and label that has true events.

    Args:
        estimated: Events found, by recording. Of those with the highest score the earliest counts as the best;
            events without a score come after those with one.
        truth: True events by recording.
        thresholds: IoUs to report the share of queries for, in (0, 1].

    Raises:
        OptionError: No true event, no threshold, or one out of range.
    """
    if not thresholds or not all(0 < level <= 1 for level in thresholds):
        raise OptionError(f"got the thresholds {list(thresholds)}; expected IoUs over 0 and up to 1")
    true, given = _by_query(truth), _by_query(estimated)
    if not true:
        raise OptionError(
            f"got {len(truth)} recordings without any true event; expected one or more to look for"
        )
    queries = tuple(
        GroundedQuery(
            recording,
            label,
            _iou(merge_events(found), merge_events(spans)),
            _best_iou(found, merge_events(spans)),
            len(found),
        )
        for (recording, label), spans in sorted(true.items())
        for found in [given.get((recording, label), [])]
    )
    wholes, bests = [query.iou for query in queries], [query.best_iou for query in queries]
    return GroundingResult(
        mean_iou=math.fsum(wholes) / len(wholes),
        recall_at=_shares(wholes, thresholds),
        mean_best_iou=math.fsum(bests) / len(bests),
        best_recall_at=_shares(bests, thresholds),
        queries=queries,
        ignored=sum(len(events) for query, events in given.items() if query not in true),
    )


def _by_query(events: Mapping[str, Sequence[Event]]) -> dict[tuple[str, str], list[Event]]:
    found: dict[tuple[str, str], list[Event]] = {}
    for recording, own in events.items():
        for event in own:
            found.setdefault((recording, event.label), []).append(event)
    return found


def _shares(ious: Sequence[float], thresholds: Sequence[float]) -> dict[float, float]:
    rounded = [round(iou, _DECIMALS) for iou in ious]
    return {level: sum(iou >= level for iou in rounded) / len(rounded) for level in thresholds}


def _best_iou(found: Sequence[Event], true: Sequence[Event]) -> float:
    if not found:
        return 0.0
    best = min(found, key=lambda event: (math.inf if event.score is None else -event.score, event))
    return max(_iou([best], [event]) for event in true)


def _iou(some: Sequence[Event], others: Sequence[Event]) -> float:
    """IoU of two lists of events that are each sorted and disjoint."""
    parts, i, j = [], 0, 0
    while i < len(some) and j < len(others):
        parts.append(max(min(some[i].offset, others[j].offset) - max(some[i].onset, others[j].onset), 0.0))
        if some[i].offset <= others[j].offset:
            i += 1
        else:
            j += 1
    both = math.fsum(parts)
    return min(both / (_length(some) + _length(others) - both), 1.0)


def _length(events: Sequence[Event]) -> float:
    return math.fsum(event.offset - event.onset for event in events)
