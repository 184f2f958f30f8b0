"""A label's PSD-ROC: its true positive rate over its effective false positive rate, at every threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from peaframe.eval.corpus import Corpus
from peaframe.eval.intersection import CrossTruth, true_positive_changes, truth_at_edges
from peaframe.eval.thresholds import Changes, Detections, Strip, Sweep, onset_changes

__all__ = ["Roc", "Tally", "staircase"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_FALSE, _TRUE = -2, -1  # kinds of changes; from 0 on, cross-triggers of each label


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
    """One label's counts at every threshold.

    Attributes:
        sweep: What is gained and lost as the threshold sinks: true and false positives and cross-triggers.
        events: (recordings,) how many true events each recording has.
    """

    sweep: Sweep
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
    ) -> Tally:
        """Count one label's detections at every threshold.

        Args:
            corpus: Scores and ground truth.
            label: A label that has ground truth.
            dtc: Share of a detection that events must cover.
            gtc: Share of an event that relevant detections must cover.
            cttc: Share of a false positive that another label's events must cover.
            cross: All labels' events, if cross-triggers count.
            present_only: Take the scores of recordings without the label for 0, or the label's least if that is less.
        """
        column = corpus.column(label)
        own = np.zeros(len(corpus.files), dtype=np.bool_)
        own[corpus.files_with[label]] = True
        if present_only:
            nothing = np.minimum(column.min(initial=0), 0)
            column = np.where(np.repeat(own, corpus.frames), column, nothing)
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
        changes = [onset_changes(everywhere, _FALSE)]
        changes += _lives(relevant, _FALSE, -1, places[strip.recording(relevant.start)])
        thresholds, steps, events = true_positive_changes(here, relevant, gtc)
        counts = np.array([len(span) for span in spans], dtype=np.intp)
        changes.append(Changes(_TRUE, thresholds, steps, np.repeat(places, counts)[events]))
        if cross is not None and cttc is not None:
            crossing, others, files = cross.triggers(corpus, column, label, dtc, cttc)
            for other in np.unique(others).tolist():
                its = others == other
                changes += _lives(crossing.where(its), other, 1, files[its])
        per_file = np.zeros(len(corpus.files))
        per_file[places] = counts
        return cls(Sweep(changes), per_file)

    @cached_property
    def _steps(self) -> Ints:
        """Where the number of true positives changes, which is where steps of the staircase may begin."""
        return self.sweep.places(_TRUE)

    def roc(self, hours: float, costs: Floats | None = None, weights: Floats | None = None) -> Roc:
        """The staircase of operating points.

        Args:
            hours: Of audio, weighted as the recordings are.
            costs: (labels,) what a cross-trigger of each adds to the effective false positive rate.
            weights: (recordings,) how often each recording counts; once by default.
        """
        events = float(self.events.sum() if weights is None else self.events @ weights)
        if not events or not len(self._steps):
            return Roc(np.zeros(0), np.zeros(0))
        rate = self.sweep.counts(_FALSE, weights) / hours
        if costs is not None:
            rate = rate + self.sweep.costs(costs, weights)
        best = np.minimum.reduceat(rate, self._steps)
        hits = self.sweep.counts(_TRUE, weights)[self._steps] / events
        return staircase(np.maximum(best, 0.0), hits)


def _lives(found: Detections, kind: int, gain: int, recordings: Ints) -> list[Changes]:
    """Changes by detections that come to life at one threshold and end at a lower one."""
    mortal = np.isfinite(found.low)
    ones = np.full(len(found.high), gain, dtype=np.int8)
    return [
        Changes(kind, found.high, ones, recordings),
        Changes(kind, found.low[mortal], -ones[mortal], recordings[mortal]),
    ]


def staircase(rate: Floats, hits: Floats) -> Roc:
    """Keep the operating points that hit more than every one with no more false alarms."""
    order = np.argsort(rate, kind="stable")
    rate, hits = rate[order], hits[order]
    best = np.maximum.accumulate(hits)
    better = np.diff(best, prepend=0.0) > 0
    return Roc(rate[better], hits[better])
