"""Events: what is heard from when to when; how scores become events, and events a grid of frames again.

Times are seconds, ranges are half-open, a score must be greater than the threshold (never equal). Lengths
among the options are turned into whole frames by `clock` first, so that no decision hangs on the last bit of
a float.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe import clock, spans
from peaframe.boxes import BoxOptions, boxed_curve
from peaframe.errors import OptionError
from peaframe.scores import Scores

_MEDIAN_SECONDS = 60


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Event:
    """One sound: `label` is heard in [onset, offset).

    Events sort by onset, offset, label, then score, an unknown score first.

    Attributes:
        onset: When it begins, in seconds from the start of the recording.
        offset: When it has ended, in seconds.
        label: What is heard.
        score: How sure it is, or None where nobody said. Any finite number: peaframe's own are the highest
            probability inside the event, other tools' files may hold other scales.

    Raises:
        OptionError: Not 0 <= onset < offset < infinity, a blank label, or a score that is not finite.
    """

    onset: float
    offset: float
    label: str
    score: float | None = None

    def __post_init__(self) -> None:
        try:
            onset, offset = float(self.onset), float(self.offset)
            score = None if self.score is None else float(self.score)
        except (TypeError, ValueError) as error:
            raise OptionError(f"an event's times and score must be numbers ({error})") from error
        if not 0 <= onset < offset < math.inf:
            raise OptionError(f"an event lasts from {onset} s to {offset} s; give 0 <= onset < offset")
        if not isinstance(self.label, str) or not self.label.strip():
            raise OptionError(f"an event's label is {self.label!r}; give a text that is not blank")
        if score is not None and not math.isfinite(score):
            raise OptionError(f"an event's score is {score}; give a finite number, or None if unknown")
        object.__setattr__(self, "onset", onset)
        object.__setattr__(self, "offset", offset)
        object.__setattr__(self, "score", score)

    def __lt__(self, other: Event) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[float, float, str, float]:
        return self.onset, self.offset, self.label, -math.inf if self.score is None else self.score


@dataclass(frozen=True, slots=True)
class EventOptions:
    """How scores become events; the steps come in the order of the list. Every length is in seconds.

    Attributes:
        median: Length of the median filter over the scores, at most a minute; rounded to whole frames and up
            to an odd number of them, so that under 0.06 s it does nothing. At both ends alike the scores are
            mirrored (c b a | a b c).
        boxes: Cut the scores into boxes by change detection, each with its mean score (see `peaframe.boxes`), and
            go on with these in place of the scores; None leaves them as they are.
        threshold: An event begins where the score is greater than this (compared in float32).
        low: The event keeps on while the score is greater than this; None means the threshold itself.
        merge_gap: Events of one label with at most this long a gap between them become one.
        min_duration: Events shorter than this are dropped; the recording's last frame counts as a whole one.

    Raises:
        OptionError: A threshold outside [0, 1], `low` above `threshold`, or a length that is negative, not
            finite, or too long.
    """

    threshold: float = 0.5
    low: float | None = None
    median: float = 0.0
    min_duration: float = 0.0
    merge_gap: float = 0.0
    boxes: BoxOptions | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise OptionError(f"threshold is {self.threshold}; give a probability from 0 to 1")
        if self.low is not None and not 0 <= self.low <= self.threshold:
            raise OptionError(
                f"low is {self.low}; give a probability from 0 to the threshold {self.threshold}"
            )
        for name in ("median", "min_duration", "merge_gap"):
            seconds = getattr(self, name)
            if not 0 <= seconds < math.inf:
                raise OptionError(f"{name} is {seconds}; give a length in seconds, 0 or more")
        if self.median > _MEDIAN_SECONDS:
            raise OptionError(
                f"median is {self.median}; give at most {_MEDIAN_SECONDS} (the unit is seconds)"
            )


def events_from_scores(
    scores: Scores, options: EventOptions | Mapping[str, EventOptions] = EventOptions()
) -> list[Event]:
    """Find the events in the scores.

    Each label by itself: median filter, boxes if asked for, threshold (with hysteresis if `low` is set), merge
    gaps, drop what is too short. Events of one label never overlap or touch. An event's score is its highest
    filtered score, which for a box is its confidence.

    Args:
        scores: Scores of shape (frames, labels).
        options: One set for all labels, or one for each label; a mapping may hold more labels than that.

    Returns:
        Events sorted by onset, offset, label. Times count from the start of the recording; an event that
        holds the last frame ends at `scores.end`.

    Raises:
        OptionError: The mapping lacks a label of the scores.
    """
    edges = scores.edges
    events: list[Event] = []
    for label in scores.labels:
        chosen = _chosen(options, label)
        curve = _filtered(scores[label], chosen)
        onsets, offsets = spans.find_spans(
            curve,
            threshold=chosen.threshold,
            low=chosen.low,
            merge_gap_frames=clock.frames_of_seconds(chosen.merge_gap),
            min_frames=clock.frames_of_seconds(chosen.min_duration),
        )
        peaks = spans.find_peaks(curve, onsets, offsets)
        for onset, offset, peak in zip(
            edges[onsets].tolist(), edges[offsets].tolist(), peaks.tolist(), strict=True
        ):
            events.append(Event(onset, offset, label, peak))
    return sorted(events, key=Event._order)


def boxes_from_scores(scores: Scores, options: BoxOptions | Mapping[str, BoxOptions]) -> list[Event]:
    """All boxes in the scores, each with its confidence as its score; see `peaframe.boxes`.

    Those with a confidence greater than a threshold are the events of `events_from_scores` with that threshold and
    these boxes among its options.

    Raises:
        OptionError: A mapping that lacks a label of the scores.
    """
    if isinstance(options, BoxOptions):
        return events_from_scores(scores, EventOptions(threshold=0.0, boxes=options))
    every = {label: EventOptions(threshold=0.0, boxes=chosen) for label, chosen in options.items()}
    return events_from_scores(scores, every)


def filtered_scores(scores: Scores, options: EventOptions | Mapping[str, EventOptions]) -> Scores:
    """The scores that `events_from_scores` compares with the threshold: median-filtered, and boxed if asked for.

    Metrics over all thresholds, such as PSDS, judge filters by them.

    Raises:
        OptionError: The mapping lacks a label of the scores.
    """
    values = np.empty_like(scores.values)
    for column, label in enumerate(scores.labels):
        values[:, column] = _filtered(scores.values[:, column], _chosen(options, label))
    return Scores(values, scores.labels, scores.start, scores.duration, scores.meta)


def activity(
    events: Iterable[Event], labels: Sequence[str], frames: int, start: float = 0.0
) -> NDArray[np.bool_]:
    """Draw events onto the frame grid: a frame is active if its centre lies inside [onset, offset).

    What lies outside the grid is left out. An event that ends with the recording, in the first half of the
    last frame, does not hold that frame's centre.

    Args:
        events: The events, in any order; they may overlap.
        labels: The columns' labels, each once.
        frames: How many rows.
        start: When the first frame begins in the recording, in seconds.

    Returns:
        Booleans of shape (frames, labels).

    Raises:
        OptionError: An event's label is not among `labels`.
    """
    columns = {label: column for column, label in enumerate(labels)}
    active = np.zeros((frames, len(labels)), dtype=np.bool_)
    for event in events:
        if event.label not in columns:
            raise OptionError(f"an event of {event.label!r}; expected one of {', '.join(map(repr, labels))}")
        first, stop = _centres_before(event.onset - start), _centres_before(event.offset - start)
        active[max(first, 0) : max(stop, 0), columns[event.label]] = True
    return active


def merge_events(events: Iterable[Event]) -> list[Event]:
    """Join events of one label that overlap or touch (to the nearest sample); the highest score stays.

    Returns:
        Events sorted by onset, offset, label; those of one label neither overlap nor touch.
    """
    merged: list[Event] = []
    latest: dict[str, int] = {}  # label -> index of its last event in `merged`
    for event in sorted(events):
        at = latest.get(event.label)
        if at is not None and _touches(merged[at], event):
            before = merged[at]
            known = [score for score in (before.score, event.score) if score is not None]
            offset = max(before.offset, event.offset)
            merged[at] = Event(before.onset, offset, event.label, max(known) if known else None)
        else:
            latest[event.label] = len(merged)
            merged.append(event)
    return sorted(merged)


def _chosen(options: EventOptions | Mapping[str, EventOptions], label: str) -> EventOptions:
    if isinstance(options, EventOptions):
        return options
    if label in options:
        return options[label]
    raise OptionError(f"no event options for {label!r}; give one set for all labels, or one for each")


def _filtered(curve: NDArray[np.float32], options: EventOptions) -> NDArray[np.float32]:
    smooth = spans.median_filter(curve, _median_frames(options.median))
    return smooth if options.boxes is None else boxed_curve(smooth, options.boxes)


def _touches(earlier: Event, later: Event) -> bool:
    return clock.samples_of_seconds(later.onset) <= clock.samples_of_seconds(earlier.offset)


def _centres_before(seconds: float) -> int:
    """How many frame centres come before a moment; a centre that falls on it comes after."""
    return -clock.frame_at(clock.FRAME_SECONDS / 2 - seconds)


def _median_frames(seconds: float) -> int:
    frames = clock.frames_of_seconds(seconds)
    return frames if frames % 2 else frames + 1
