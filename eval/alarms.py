"""False alarms per hour: what a detector reports where nothing it listens for is heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peaframe.errors import OptionError
from peaframe.events import Event

__all__ = ["FalseAlarms", "false_alarms_per_hour"]


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Events that were detected in recordings without any.

    Attributes:
        events: How many events were detected.
        hours: How long the event-free recordings are together, in hours.
        per_hour: `events / hours`.
        per_label: False alarms per hour of each label that raised any, by name.
        recordings: How many recordings were event-free.
    """

    events: int
    hours: float
    per_hour: float
    per_label: dict[str, float]
    recordings: int


def false_alarms_per_hour(
    estimated: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    truth: Mapping[str, Sequence[Event]] | None = None,
) -> FalseAlarms:
    """Count the events detected in event-free recordings, per hour of them.

    Args:
        estimated: Detected events by recording; a recording without a key raised no alarm.
        durations: Seconds of each recording that was searched.
        truth: True events by recording; recordings that have any are left out. Without it every recording in
            `durations` is taken to be event-free.

    Raises:
        OptionError: Detections in a recording of unknown duration, or nothing event-free to count in.
    """
    unknown = sorted(set(estimated) - set(durations))
    if unknown:
        raise OptionError(
            f"no duration for {unknown[0]!r} and {len(unknown) - 1} more recordings with detections; "
            "give the seconds of every recording that was searched"
        )
    busy = {name for name, events in truth.items() if len(events)} if truth is not None else set()
    quiet = sorted(set(durations) - busy)
    hours = sum(durations[name] for name in quiet) / 3600
    if not hours > 0:
        raise OptionError(
            f"got {len(quiet)} event-free recordings of {hours:g} hours together; "
            "false alarms per hour need at least one that is longer than nothing"
        )
    counts = Counter(event.label for name in quiet for event in estimated.get(name, ()))
    total = sum(counts.values())
    per_label = {label: counts[label] / hours for label in sorted(counts)}
    return FalseAlarms(total, hours, total / hours, per_label, len(quiet))
