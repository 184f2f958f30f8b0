"""Event-based F-score of frame scores at a threshold, or at each label's best one of all thresholds, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peaframe.eval.collar import T_COLLAR, collar_counts
from peaframe.eval.corpus import Corpus, FrameScores, align
from peaframe.eval.counts import Counts
from peaframe.eval.matching import groups, largest_matching
from peaframe.eval.thresholds import Changes, Detections, Strip, Sweep, last_of_ties, onset_changes
from peaframe.events import Event

__all__ = ["best_thresholds", "collar_best", "events_at"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.intp]

_FOUND, _HIT = -2, -1


def events_at(scores: FrameScores, thresholds: float | Mapping[str, float]) -> list[Event]:
    """The runs of frames whose score is greater than a threshold, and nothing else done to them.

    Args:
        scores: One recording's.
        thresholds: One for all labels, or one for each; a label without one has no events.

    Returns:
        Events sorted by onset, offset, label; an event's score is its highest.
    """
    edges = scores.edges
    events = []
    for label in scores.labels:
        threshold = thresholds.get(label) if isinstance(thresholds, Mapping) else thresholds
        if threshold is None:
            continue
        curve = scores[label]
        active = np.concatenate(([False], curve > np.float32(threshold), [False]))
        ends = np.flatnonzero(active[1:] != active[:-1])
        for begin, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
            events.append(Event(edges[begin], edges[end], label, float(curve[begin:end].max())))
    return sorted(events)


def collar_best(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    t_collar: float = T_COLLAR,
    percentage_of_length: float = 0.2,
) -> Counts:
    """Count hits and false alarms at the threshold that is best for each label on these very recordings.

    It is what a label's detector could reach were its threshold known, and no fair score of one: choose
    thresholds on other recordings (`best_thresholds`) for that.

    Args:
        scores: Scores by recording, all with the same labels.
        truth: True events by recording; those of one label that overlap or touch are merged.
        labels: Score these labels only; by default all labels of the scores.
        t_collar: Seconds that an onset or offset may be off.
        percentage_of_length: Share of the event's length that its offset may be off, if that is more.

    Raises:
        OptionError: Scores, truth and labels do not fit each other, or no label has ground truth.
    """
    corpus = align(scores, truth, labels)
    thresholds = {
        label: _best(corpus, label, t_collar, percentage_of_length)[0] for label in corpus.files_with
    }
    found = {file: events_at(scores[file], thresholds) for file in corpus.files}
    real = {
        file: [Event(a, b, label) for label, spans in corpus.truth[i].items() for a, b in spans.tolist()]
        for i, file in enumerate(corpus.files)
    }
    counts = collar_counts(
        found, real, labels=corpus.labels, t_collar=t_collar, percentage_of_length=percentage_of_length
    )
    return dataclasses.replace(counts, thresholds=thresholds)


def best_thresholds(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    t_collar: float = T_COLLAR,
    percentage_of_length: float = 0.2,
) -> dict[str, tuple[float, float]]:
    """Each label's threshold with the best event-based F-score, and that score; else as `collar_best`."""
    corpus = align(scores, truth, labels)
    return {label: _best(corpus, label, t_collar, percentage_of_length) for label in corpus.files_with}


def _best(corpus: Corpus, label: str, t_collar: float, percentage_of_length: float) -> tuple[float, float]:
    """The best threshold of all, in the middle between the scores around it, and its F-score."""
    column = corpus.column(label)
    inside = np.zeros(len(corpus.files), dtype=np.bool_)
    inside[corpus.files_with[label]] = True
    strip = Strip.of(
        column[np.repeat(inside, corpus.frames)],
        corpus.frames[inside],
        corpus.edges[np.repeat(inside, corpus.frames + 1)],
    )
    spans = [corpus.truth[file][label] for file in corpus.files_with[label]]
    found = Detections.of(strip)
    event, detection = _fitting(strip, spans, found, t_collar, percentage_of_length)
    thresholds, steps = _changes(event, detection, found)
    if not len(thresholds):
        return float(column.max(initial=0.0)), 0.0
    nobody = np.zeros(len(thresholds), dtype=np.intp)
    everywhere = Strip.of(column, corpus.frames, corpus.edges)
    sweep = Sweep([onset_changes(everywhere, _FOUND), Changes(_HIT, thresholds, steps, nobody)])
    f = 2 * sweep.counts(_HIT) / (sum(map(len, spans)) + sweep.counts(_FOUND))
    best = int(np.argmax(f))
    upper = float(sweep.marks[best])
    if best + 1 == len(sweep.marks):
        return float(np.nextafter(sweep.marks[best], -np.float32(np.inf))), float(f[best])
    lower = float(sweep.marks[best + 1])
    middle = lower + (upper - lower) / 2
    return middle if np.float32(middle) < sweep.marks[best] else lower, float(f[best])


def _fitting(
    strip: Strip, spans: Sequence[Floats], found: Detections, t_collar: float, percentage_of_length: float
) -> tuple[Ints, Ints]:
    """Pairs of true event and detection that fit each other, events numbered through all recordings."""
    order = np.argsort(found.start, kind="stable")
    starts = found.start[order]
    first, stop = [], []
    for file, span in enumerate(spans):
        edges = strip.edges[strip.first[file] : strip.first[file + 1]]
        margin = t_collar + 1e-6
        first.append(strip.first[file] + np.searchsorted(edges, span[:, 0] - margin, side="left"))
        stop.append(strip.first[file] + np.searchsorted(edges, span[:, 0] + margin, side="right"))
    events = np.concatenate(spans)
    begin = np.searchsorted(starts, np.concatenate(first), side="left")
    counts = np.searchsorted(starts, np.concatenate(stop), side="left") - begin
    event = np.repeat(np.arange(len(events)), counts)
    inside = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    detection = order[begin[event] + inside]
    slack = np.maximum(t_collar, percentage_of_length * (events[:, 1] - events[:, 0]))
    fits = np.abs(events[event, 0] - strip.edges[found.start[detection]]) <= t_collar
    fits &= np.abs(events[event, 1] - strip.edges[found.end[detection]]) <= slack[event]
    return event[fits], detection[fits]


def _changes(event: Ints, detection: Ints, found: Detections) -> tuple[Singles, Floats]:
    """How the number of hits changes as the threshold sinks: thresholds and steps."""
    group = groups(event, detection)
    pairs = np.unique(np.stack((group, event), axis=1), axis=0)
    lonely = (
        np.isin(group, np.flatnonzero(np.bincount(pairs[:, 0], minlength=1) == 1))
        if len(pairs)
        else group > 0
    )
    parts = [_covered(event[lonely], detection[lonely], found)]
    for number in np.unique(group[~lonely]).tolist():
        here = group == number
        parts.append(_swept(event[here], detection[here], found))
    thresholds = np.concatenate([part[0] for part in parts])
    steps = np.concatenate([part[1] for part in parts])
    live = np.isfinite(thresholds)
    return thresholds[live], steps[live]


def _covered(event: Ints, detection: Ints, found: Detections) -> tuple[Singles, Floats]:
    """Events that share no detection: each is a hit while any of its detections lives."""
    who = np.concatenate((event, event))
    at = np.concatenate((found.high[detection], found.low[detection]))
    step = np.repeat([1, -1], len(event))
    order = np.lexsort((-at, who))
    who, at = who[order], at[order]
    alive = np.cumsum(step[order])  # every detection ends at last, so each event ends as it began
    last = last_of_ties(who, at)
    who, at, hit = who[last], at[last], (alive[last] > 0).astype(np.float64)
    hit[1:] -= np.where(who[1:] == who[:-1], hit[:-1].copy(), 0.0)
    return at, hit


def _swept(event: Ints, detection: Ints, found: Detections) -> tuple[Singles, Floats]:
    """Events that share detections: the largest matching among those that live, threshold by threshold."""
    marks = np.unique(np.concatenate((found.high[detection], found.low[detection])))[::-1]
    steps, before = [], 0
    for mark in marks:
        links: dict[int, list[int]] = {}
        alive = (found.high[detection] >= mark) & (found.low[detection] < mark)
        for one, other in zip(event[alive].tolist(), detection[alive].tolist(), strict=True):
            links.setdefault(one, []).append(other)
        size = largest_matching(links)
        steps.append(float(size - before))
        before = size
    return marks, np.array(steps)
