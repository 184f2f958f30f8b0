"""How detections and true events cover each other, for every threshold at once.

Events of one label are disjoint, and so are the detections of one threshold. So a detection cuts at most two
events, one at each of its ends, and holds every other event it meets whole; and an event that a detection
holds whole meets no other detection. That keeps everything here linear in the number of detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe.eval.corpus import Corpus, Spans
from peaframe.eval.thresholds import Detections, Strip, last_of_ties

__all__ = ["CrossTruth", "TruthAtEdges", "true_positive_changes", "truth_at_edges"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_FUZZ = 1e-6  # seconds: a share missed by float noise only is reached (sed_scores_eval rounds times to this)


@dataclass(frozen=True)
class TruthAtEdges:
    """One label's true events, seen from each frame edge of a strip.

    Attributes:
        edges: (edges,) the strip's frame edges in seconds.
        covered: (edges,) seconds of events before the edge.
        ended: (edges,) how many events of this and earlier recordings have ended at the edge.
        begun: (edges,) how many have begun before it; one more than `ended` inside an event.
        onsets: (events,) seconds.
        lengths: (events,) seconds.
    """

    edges: Floats
    covered: Floats
    ended: Ints
    begun: Ints
    onsets: Floats
    lengths: Floats

    def covers(self, found: Detections, share: float) -> NDArray[np.bool_]:
        """Whether events cover at least `share` of each detection, (detections,)."""
        return _covers(self.covered, self.edges, found, share)


def truth_at_edges(strip: Strip, spans: Sequence[Spans]) -> TruthAtEdges:
    """See the true events of each recording of a strip, (events, 2) onsets and offsets, from its edges."""
    covered = np.empty(len(strip.edges))
    ended = np.empty(len(strip.edges), dtype=np.intp)
    begun = np.empty(len(strip.edges), dtype=np.intp)
    earlier = 0
    for file, span in enumerate(spans):
        here = slice(strip.first[file], strip.first[file + 1])
        edges = strip.edges[here]
        covered[here] = _seconds_before(span, edges)
        ended[here] = earlier + np.searchsorted(span[:, 1], edges + _FUZZ, side="right")
        begun[here] = earlier + np.searchsorted(span[:, 0], edges - _FUZZ, side="left")
        earlier += len(span)
    events = np.concatenate(spans)
    return TruthAtEdges(strip.edges, covered, ended, begun, events[:, 0], events[:, 1] - events[:, 0])


def true_positive_changes(
    truth: TruthAtEdges, relevant: Detections, share: float
) -> tuple[NDArray[np.float32], Ints, Ints]:
    """How the number of true positives changes as the threshold sinks.

    Args:
        truth: The label's true events.
        relevant: The detections that events cover enough of.
        share: How much of an event these must cover.

    Returns:
        Thresholds; for each, the events gained or lost by sinking under it; and one of these events, all of
        which are in one recording.
    """
    first = truth.begun[relevant.start]
    whole = np.maximum(truth.ended[relevant.end] - first, 0)
    holding = np.flatnonzero(whole)
    mortal = holding[np.isfinite(relevant.low[holding])]
    thresholds, steps, events = _cut_events(truth, relevant, share)
    return (
        np.concatenate((relevant.high[holding], relevant.low[mortal], thresholds)),
        np.concatenate((whole[holding], -whole[mortal], steps)),
        np.concatenate((first[holding], first[mortal], events)),
    )


def _cut_events(
    truth: TruthAtEdges, relevant: Detections, share: float
) -> tuple[NDArray[np.float32], Ints, Ints]:
    """The changes that come from events which detections cover in part."""
    event, detection = _cuts(truth, relevant)
    start, end = truth.edges[relevant.start[detection]], truth.edges[relevant.end[detection]]
    onset = truth.onsets[event]
    part = np.minimum(end, onset + truth.lengths[event]) - np.maximum(start, onset)
    event = np.concatenate((event, event))
    threshold = np.concatenate((relevant.high[detection], relevant.low[detection]))
    order = np.lexsort((-threshold, event))
    event, threshold = event[order], threshold[order]
    # Every part is taken back at the latest at minus infinity, so each event ends as it began, uncovered, and
    # one running sum serves all.
    covered = np.cumsum(np.concatenate((part, -part))[order])
    last = last_of_ties(event, threshold)
    event, threshold, covered = event[last], threshold[last], covered[last]
    needed = np.maximum(share * truth.lengths[event] - _FUZZ, _FUZZ)
    steps = (covered >= needed).astype(np.intp)
    steps[1:] -= steps[:-1].copy()
    changes = np.flatnonzero((steps != 0) & np.isfinite(threshold))
    return threshold[changes], steps[changes], event[changes]


def _cuts(truth: TruthAtEdges, relevant: Detections) -> tuple[Ints, Ints]:
    """Pairs of event and detection, once each, where an end of the detection lies inside the event."""
    at_start = truth.ended[relevant.start] < truth.begun[relevant.start]
    at_end = truth.ended[relevant.end] < truth.begun[relevant.end]
    same = at_start & at_end & (truth.ended[relevant.start] == truth.ended[relevant.end])
    left, right = np.flatnonzero(at_start), np.flatnonzero(at_end & ~same)
    event = np.concatenate((truth.ended[relevant.start[left]], truth.ended[relevant.end[right]]))
    return event, np.concatenate((left, right))


@dataclass(frozen=True)
class CrossTruth:
    """The true events of all labels, to tell which label a false positive may have been triggered by.

    Recordings without events are left out. The others lie in the order of how many labels they hold, most
    first, so that everything about the n-th label of each recording fills the front of one array.

    Attributes:
        labels: Labels with ground truth.
        hours: (recordings of the corpus, labels) sparse: how long each label's events are in each, as three
            arrays of recording, label and hours.
        files: (recordings,) which recordings of the corpus these are.
        frames: (frames,) where their frames stand in a column of the corpus.
        slots: For each n, which label is the n-th of its recording, (recordings with so many,), and seconds
            of that label's events before each frame edge, (edges of these recordings,).
    """

    labels: tuple[str, ...]
    hours: tuple[Ints, Ints, Floats]
    files: Ints
    frames: Ints
    slots: tuple[tuple[Ints, Floats], ...]

    @classmethod
    def of(cls, corpus: Corpus) -> CrossTruth:
        """Arrange a corpus; its memory is that of the scores of the labels that happen in each recording."""
        labels = tuple(corpus.files_with)
        number = {label: index for index, label in enumerate(labels)}
        files = [file for file, spans in enumerate(corpus.truth) if spans]
        files.sort(key=lambda file: -len(corpus.truth[file]))
        which: list[list[int]] = [[] for _ in corpus.truth[files[0]]]
        covered: list[list[Floats]] = [[] for _ in which]
        hours: list[tuple[int, int, float]] = []
        for file in files:
            for slot, (label, span) in enumerate(corpus.truth[file].items()):
                hours.append((file, number[label], float(np.sum(span[:, 1] - span[:, 0])) / 3600))
                which[slot].append(number[label])
                covered[slot].append(_seconds_before(span, corpus.edges_of(file)))
        slots = tuple(
            (np.array(names, dtype=np.intp), np.concatenate(parts))
            for names, parts in zip(which, covered, strict=True)
        )
        begins = np.concatenate(([0], np.cumsum(corpus.frames)))
        frames = np.concatenate([np.arange(begins[file], begins[file + 1]) for file in files])
        at, name, length = (np.array(column) for column in zip(*hours, strict=True))
        return cls(labels, (at, name, length), np.array(files, dtype=np.intp), frames, slots)

    def costs(self, own: str, weights: Floats | None = None) -> Floats:
        """What a cross-trigger of each label adds to the mean over the labels but `own`, (labels,).

        Labels that do not happen, as the recordings are weighted, are not there.
        """
        at, name, length = self.hours
        hours = np.bincount(name, length if weights is None else length * weights[at], len(self.labels))
        costs = np.zeros(len(self.labels))
        others = max(int(np.sum(hours > 0)) - 1, 1)
        np.divide(1.0, hours * others, out=costs, where=hours > 0)
        costs[self.labels.index(own)] = 0
        return costs

    def triggers(
        self, corpus: Corpus, column: NDArray[np.float32], label: str, dtc: float, cttc: float
    ) -> tuple[Detections, Ints, Ints]:
        """Find the false positives of `label` that other labels' events may have triggered.

        Args:
            corpus: What this was arranged from.
            column: The label's scores in all its recordings, (frames,).
            label: The label that was detected.
            dtc: Share of a detection that events of `label` must cover to make it no false positive.
            cttc: Share of it that events of another label must cover.

        Returns:
            These detections, once for each label that triggers them; that label; the recording.
        """
        edges = np.concatenate([corpus.edges_of(file) for file in self.files.tolist()])
        strip = Strip.of(column[self.frames], corpus.frames[self.files], edges)
        found = Detections.of(strip)
        recording = strip.recording(found.start)
        own = self.labels.index(label)
        relevant = np.zeros(len(found.high), dtype=np.bool_)
        pairs: list[tuple[Ints, Ints]] = []
        for which, covered in self.slots:
            front = slice(0, int(np.searchsorted(recording, len(which))))
            names = which[recording[front]]
            some = found.where(front)
            relevant[front] |= (names == own) & _covers(covered, strip.edges, some, dtc)
            hit = np.flatnonzero((names != own) & _covers(covered, strip.edges, some, cttc))
            pairs.append((hit, names[hit]))
        which_one, other = (np.concatenate(part) for part in zip(*pairs, strict=True))
        false = ~relevant[which_one]
        which_one, other = which_one[false], other[false]
        return found.where(which_one), other, self.files[recording[which_one]]


def _covers(covered: Floats, edges: Floats, found: Detections, share: float) -> NDArray[np.bool_]:
    inside = covered[found.end] - covered[found.start]
    enough: NDArray[np.bool_] = inside >= share * (edges[found.end] - edges[found.start]) - _FUZZ
    return enough


def _seconds_before(span: Spans, edges: Floats) -> Floats:
    """Seconds of events before each edge: (events, 2) onsets and offsets, (edges,) -> (edges,)."""
    lengths = span[:, 1] - span[:, 0]
    totals = np.stack((np.cumsum(lengths) - lengths, np.cumsum(lengths)), axis=1)
    return np.interp(edges, span.ravel(), totals.ravel())
