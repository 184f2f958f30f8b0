"""Which label was heard for which: a table of true labels against what detections at the same time said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peaframe.events import Event

__all__ = ["MISSED", "NOTHING", "confusion"]

MISSED, NOTHING = "missed", "nothing"


def confusion(
    found: Mapping[str, Sequence[Event]], truth: Mapping[str, Sequence[Event]], labels: Sequence[str]
) -> dict[str, Any]:
    """Count, for each true event, what was said while it was heard.

    A true event counts once: as its own label if a detection of that overlaps it; else as the label whose
    detections overlap it longest, if they cover half of it; else as missed. A detection that overlaps no true
    event of any label counts in the row "nothing".

    Args:
        found: Detected events by recording.
        truth: True events by recording.
        labels: The labels that are scored; others are left out.

    Returns:
        `labels`, and `matrix` of (labels + 1, labels + 1) counts: a row for each true label and one for nothing,
        a column for each label that was said and one for missed.
    """
    place = {label: index for index, label in enumerate(labels)}
    matrix = [[0] * (len(labels) + 1) for _ in range(len(labels) + 1)]
    for file in sorted(set(found) | set(truth)):
        real = sorted(event for event in truth.get(file, ()) if event.label in place)
        said = sorted(event for event in found.get(file, ()) if event.label in place)
        meets: list[dict[str, float]] = [{} for _ in real]
        first = 0
        reach = _furthest(real)
        for detection in said:
            while first < len(real) and reach[first] <= detection.onset:
                first += 1
            alone = True
            for index in range(first, len(real)):
                event = real[index]
                if event.onset >= detection.offset:
                    break
                shared = min(event.offset, detection.offset) - max(event.onset, detection.onset)
                if shared > 0:
                    alone = False
                    meets[index][detection.label] = meets[index].get(detection.label, 0.0) + shared
            if alone:
                matrix[len(labels)][place[detection.label]] += 1
        for event, said_of in zip(real, meets, strict=True):
            matrix[place[event.label]][_verdict(event, said_of, place)] += 1
    return {"labels": list(labels), "matrix": matrix}


def _furthest(events: Sequence[Event]) -> list[float]:
    """For each event the latest offset of it and all before."""
    reach: list[float] = []
    for event in events:
        reach.append(max(event.offset, reach[-1] if reach else 0.0))
    return reach


def _verdict(event: Event, said: Mapping[str, float], place: Mapping[str, int]) -> int:
    if event.label in said:
        return place[event.label]
    best = max(said, key=lambda label: (said[label], -place[label]), default=None)
    if best is None or said[best] < (event.offset - event.onset) / 2:
        return len(place)
    return place[best]
