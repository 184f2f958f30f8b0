"""A label's PSD-ROC: its true positive rate over its effective false positive rate, at every threshold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe.eval.corpus import Corpus
from peaframe.eval.intersection import CrossTruth, true_positive_changes, truth_at_edges
from peaframe.eval.thresholds import Detections, Onsets, Strip, last_of_ties

__all__ = ["Roc", "Tally", "staircase"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_RELEVANT, _TRUE, _CROSS = -2, -1, 0  # what a change is of; from 0 on, the label of a cross-trigger


@dataclass(frozen=True)
class Roc:
    """A staircase: from effective false positive rate `rate[i]` on, the true positive rate is `hits[i]`."""

    rate: Floats
    hits: Floats

    def at(self, rates: Floats) -> Floats:
        """True positive rates at these effective false positive rates, (n,)."""
        return np.concatenate(([0.0], self.hits))[np.searchsorted(self.rate, rates, side="right")]

    def area(self, max_efpr: float) -> float:
        """Area from 0 to `max_efpr` over `max_efpr`, in [0, 1]."""
        gains = np.diff(self.hits, prepend=0.0)
        return min(float(np.sum(gains * np.maximum(max_efpr - self.rate, 0.0)) / max_efpr), 1.0)


@dataclass(frozen=True)
class Tally:
    """What is gained and lost in one label's counts as the threshold sinks.

    Attributes:
        onsets: All its detections.
        thresholds: (changes,) falling.
        kinds: (changes,) what changes: relevant detections, true positives, cross-triggers of which label.
        steps: (changes,) by how much.
        recordings: (changes,) in which recording.
        events: (recordings,) how many true events each recording has.
    """

    onsets: Onsets
    thresholds: NDArray[np.float32]
    kinds: Ints
    steps: Floats
    recordings: Ints
    events: Floats

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        label: str,
        dtc: float,
        gtc: float,
        cttc: float | None = None,
        cross: CrossTruth | None = None,
        *,
        present_only: bool = False,
        by_recording: bool = False,
    ) -> Tally:
        """Count one label's detections at every threshold.

        Args:
            corpus: Scores and ground truth.
            label: A label that has ground truth.
            dtc: Share of a detection that events must cover.
            gtc: Share of an event that relevant detections must cover.
            cttc: Share of a false positive that another label's events must cover.
            cross: All labels' events, if cross-triggers count.
            present_only: Take the scores of recordings without the label for 0.
            by_recording: Prepare for weights of recordings.
        """
        column = corpus.column(label)
        own = np.zeros(len(corpus.files), dtype=np.bool_)
        own[corpus.files_with[label]] = True
        if present_only:
            column = np.where(np.repeat(own, corpus.frames), column, np.float32(0))
        everywhere = Strip.of(column, corpus.frames, corpus.edges)
        strip = Strip.of(
            column[np.repeat(own, corpus.frames)],
            corpus.frames[own],
            corpus.edges[np.repeat(own, corpus.frames + 1)],
        )
        places = np.flatnonzero(own)
        spans = [corpus.truth[file][label] for file in places.tolist()]
        here = truth_at_edges(strip, spans)
        found = Detections.of(strip)
        relevant = found.where(here.covers(found, dtc))
        parts = list(_lives(relevant, np.ones(len(relevant.high)), places[strip.recording(relevant.start)]))
        kinds = [np.full(len(part[0]), _RELEVANT, dtype=np.intp) for part in parts]
        thresholds, steps, events = true_positive_changes(here, relevant, gtc)
        counts = np.array([len(span) for span in spans], dtype=np.intp)
        parts.append((thresholds, steps.astype(np.float64), np.repeat(places, counts)[events]))
        kinds.append(np.full(len(thresholds), _TRUE, dtype=np.intp))
        if cross is not None and cttc is not None:
            crossing, others, files = cross.triggers(corpus, column, label, dtc, cttc)
            for sign in (1.0, -1.0):
                alive = slice(None) if sign > 0 else np.isfinite(crossing.low)
                at = (crossing.high if sign > 0 else crossing.low)[alive]
                parts.append((at, np.full(len(at), sign), files[alive]))
                kinds.append(others[alive] + _CROSS)
        falling = np.concatenate([part[0] for part in parts])
        order = np.argsort(-falling, kind="stable")
        per_file = np.zeros(len(corpus.files))
        per_file[places] = counts
        return cls(
            Onsets(everywhere, by_recording),
            falling[order],
            np.concatenate(kinds)[order],
            np.concatenate([part[1] for part in parts])[order],
            np.concatenate([part[2] for part in parts])[order],
            per_file,
        )

    def roc(self, hours: float, costs: Floats | None = None, weights: Floats | None = None) -> Roc:
        """The staircase of operating points.

        Args:
            hours: Of audio, weighted as the recordings are.
            costs: (labels,) what a cross-trigger of each adds to the effective false positive rate.
            weights: (recordings,) how often each recording counts; once by default.
        """
        steps = self.steps if weights is None else self.steps * weights[self.recordings]
        last = last_of_ties(self.thresholds)
        marks = self.thresholds[last]
        relevant = np.cumsum(np.where(self.kinds == _RELEVANT, steps, 0.0))[last]
        true = np.cumsum(np.where(self.kinds == _TRUE, steps, 0.0))[last]
        rate = (self.onsets.fewest(marks, weights) - relevant) / hours
        if costs is not None:
            prices = np.where(self.kinds >= _CROSS, costs[np.maximum(self.kinds, 0)], 0.0)
            rate = rate + np.cumsum(steps * prices)[last]
        events = float(self.events.sum() if weights is None else self.events @ weights)
        if not events:
            return Roc(np.zeros(0), np.zeros(0))
        return staircase(np.maximum(rate, 0.0), true / events)


def _lives(
    found: Detections, weights: Floats, recordings: Ints
) -> Iterator[tuple[NDArray[np.float32], Floats, Ints]]:
    """Changes by detections that come to life at one threshold and end at a lower one."""
    mortal = np.isfinite(found.low)
    yield found.high, weights, recordings
    yield found.low[mortal], -weights[mortal], recordings[mortal]


def staircase(rate: Floats, hits: Floats) -> Roc:
    """Keep the operating points that hit more than every one with no more false alarms."""
    order = np.argsort(rate, kind="stable")
    rate, hits = rate[order], hits[order]
    best = np.maximum.accumulate(hits)
    better = np.diff(best, prepend=0.0) > 0
    return Roc(rate[better], hits[better])
