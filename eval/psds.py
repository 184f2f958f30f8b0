"""Polyphonic sound detection score (PSDS), exact: every threshold, not a grid of them.

Definition: Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020. One
label is counted at a time, so memory grows with the recordings and not with labels squared or thresholds.
Thresholds below the lowest score count too: there, all of a recording is one detection.

The arithmetic, as psds_eval and sed_scores_eval do it: of each label, at each threshold,
- a detection is *relevant* if events of its label cover at least `dtc` of it; else it is a false positive;
- an event is a true positive if relevant detections cover at least `gtc` of it;
- a false positive is a cross-trigger of another label if that label's events cover at least `cttc` of it;
- effective false positive rate = false positives / hours of audio + `alpha_ct` * mean over the other labels
  of (cross-triggers of the label / hours of its events);
- over labels, effective true positive rate = max(0, mean - `alpha_st` * population standard deviation) of the
  labels' best true positive rates at no higher false positive rate;
- PSDS is its area from 0 to `max_efpr`, over `max_efpr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, align
from peaframe.eval.intersection import CrossTruth, true_positive_changes, truth_at_edges
from peaframe.eval.thresholds import Detections, last_of_ties, lay, onset_changes
from peaframe.events import Event
from peaframe.scores import Scores

__all__ = ["PSDS1", "PSDS2", "PSDSResult", "PSDSSettings", "psds"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PSDSSettings:
    """What counts as detected, and what false alarms and uneven labels cost.

    Attributes:
        dtc: Share of a detection that its label's events must cover, in (0, 1].
        gtc: Share of an event that relevant detections must cover, in (0, 1].
        cttc: Share of a false positive that another label's events must cover, in (0, 1]; may be None if
            `alpha_ct` is 0.
        alpha_ct: Weight of cross-triggers, from 0.
        alpha_st: Weight of the spread between labels, from 0.
        max_efpr: Highest effective false positive rate that counts, per hour.
    """

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float
    max_efpr: float = 100.0

    def __post_init__(self) -> None:
        shares = {"dtc": self.dtc, "gtc": self.gtc}
        if self.cttc is not None:
            shares["cttc"] = self.cttc
        elif self.alpha_ct > 0:
            raise OptionError(f"got alpha_ct {self.alpha_ct:g} without cttc; expected a share such as 0.3")
        for name, share in shares.items():
            if not 0 < share <= 1:
                raise OptionError(f"got {name} {share:g}; expected a share over 0 and up to 1")
        for name, weight in (("alpha_ct", self.alpha_ct), ("alpha_st", self.alpha_st)):
            if not 0 <= weight < np.inf:
                raise OptionError(f"got {name} {weight:g}; expected a weight of 0 or more")
        if not 0 < self.max_efpr < np.inf:
            raise OptionError(f"got max_efpr {self.max_efpr:g}; expected false positives per hour over 0")


PSDS1 = PSDSSettings(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0)
"""DCASE task 4, scenario 1: react fast and bound the events well."""
PSDS2 = PSDSSettings(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0)
"""DCASE task 4, scenario 2: do not confuse labels."""


@dataclass(frozen=True, slots=True)
class PSDSResult:
    """A PSDS and what it is made of.

    Attributes:
        value: The PSDS over all labels with ground truth, in [0, 1].
        macro: Mean of `per_label`: what `value` is with `alpha_st` 0 (PSDS1_A for the settings of PSDS1).
        per_label: Each label's own PSDS, by name.
        unscored: Labels without ground truth, which count nowhere.
        merged: True events that were merged into another of their label.
        recordings: How many recordings were scored.
        hours: How long they are together.
    """

    value: float
    macro: float
    per_label: dict[str, float]
    unscored: tuple[str, ...]
    merged: int
    recordings: int
    hours: float


@dataclass(frozen=True)
class _Roc:
    """A label's staircase: from effective false positive rate `rate[i]` on, true positive rate `hits[i]`."""

    rate: Floats
    hits: Floats

    def at(self, rates: Floats) -> Floats:
        return np.concatenate(([0.0], self.hits))[np.searchsorted(self.rate, rates, side="right")]

    def area(self, max_efpr: float) -> float:
        gains = np.diff(self.hits, prepend=0.0)
        return min(float(np.sum(gains * np.maximum(max_efpr - self.rate, 0.0)) / max_efpr), 1.0)


def psds(
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    settings: PSDSSettings = PSDS1,
    *,
    durations: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
) -> PSDSResult:
    """Score frame scores against true events.

    Args:
        scores: Scores by recording, all with the same labels.
        truth: True events by recording; a recording it does not name has none. Events of one label that
            overlap or touch are merged first.
        settings: `PSDS1`, `PSDS2`, or any others.
        durations: Seconds of each recording; by default what its scores cover.
        labels: Score these labels only; by default all labels of the scores.

    Raises:
        OptionError: Scores, truth, durations and labels do not fit each other, or no label has ground truth.
    """
    corpus = align(scores, truth, labels)
    hours = _hours(corpus, durations)
    cross = CrossTruth.of(corpus) if settings.alpha_ct > 0 else None
    rocs = {label: _roc(corpus, label, settings, hours, cross) for label in corpus.files_with}
    per_label = {label: roc.area(settings.max_efpr) for label, roc in rocs.items()}
    return PSDSResult(
        value=_combined(list(rocs.values()), settings),
        macro=float(np.mean(list(per_label.values()))),
        per_label=per_label,
        unscored=corpus.without_truth,
        merged=corpus.merged,
        recordings=len(corpus.files),
        hours=hours,
    )


def _hours(corpus: Corpus, durations: Mapping[str, float] | None) -> float:
    """Hours of audio, after checking that durations and scores are of the same recordings."""
    if durations is None:
        seconds = sum(item.end - item.start for item in corpus.scores)
    else:
        odd = sorted(set(corpus.files) ^ set(durations))
        if odd:
            has, lacks = ("scores", "duration") if odd[0] in corpus.files else ("a duration", "scores")
            raise OptionError(
                f"{odd[0]!r} has {has} and no {lacks}, like {len(odd) - 1} more recordings in one only; "
                "give both for the same recordings"
            )
        seconds = sum(durations[file] for file in corpus.files)
    if not 0 < seconds < np.inf:
        raise OptionError(f"got recordings of {seconds:g} seconds together; expected more than 0")
    return seconds / 3600


def _roc(corpus: Corpus, label: str, settings: PSDSSettings, hours: float, cross: CrossTruth | None) -> _Roc:
    """Count one label's detections at every threshold."""
    changes = _Changes()
    changes.add(*onset_changes(lay(corpus.scores, label)), kind="false")
    own = corpus.files_with[label]
    strip = lay([corpus.scores[file] for file in own], label)
    here = truth_at_edges(strip, [corpus.truth[file][label] for file in own])
    found = Detections.of(strip)
    relevant = found.where(here.covers(found, settings.dtc))
    changes.add_lives(relevant, np.full(len(relevant.high), -1), kind="false")
    changes.add(*true_positive_changes(here, relevant, settings.gtc), kind="true")
    if cross is not None and settings.cttc is not None:
        changes.add_lives(*cross.triggers(label, settings.dtc, settings.cttc), kind="cross")
    true, false, crossed = changes.totals()
    rate = np.maximum(false / hours + settings.alpha_ct * crossed, 0.0)
    return _staircase(rate, true / len(here.lengths))


def _staircase(rate: Floats, hits: Floats) -> _Roc:
    """Keep the operating points that hit more than every one with no more false alarms."""
    order = np.argsort(rate, kind="stable")
    rate, hits = rate[order], hits[order]
    best = np.maximum.accumulate(hits)
    better = np.diff(best, prepend=0.0) > 0
    return _Roc(rate[better], hits[better])


def _combined(rocs: Sequence[_Roc], settings: PSDSSettings) -> float:
    """The area under mean minus spread of the labels' staircases; two passes, a label at a time."""
    rates = np.unique(np.concatenate([np.zeros(1), *(roc.rate for roc in rocs)]))
    rates = rates[rates < settings.max_efpr]
    mean = sum((roc.at(rates) for roc in rocs), np.zeros(len(rates))) / len(rocs)
    variance = sum(((roc.at(rates) - mean) ** 2 for roc in rocs), np.zeros(len(rates))) / len(rocs)
    hits = np.maximum(mean - settings.alpha_st * np.sqrt(variance), 0.0)
    widths = np.diff(rates, append=settings.max_efpr)
    return min(float(np.sum(hits * widths) / settings.max_efpr), 1.0)


class _Changes:
    """What is gained and lost in counts as the threshold sinks; summed up once at the end."""

    def __init__(self) -> None:
        self._thresholds: list[NDArray[np.float32]] = []
        self._steps: list[tuple[str, Floats]] = []

    def add(self, thresholds: NDArray[np.float32], steps: NDArray[np.generic], kind: str) -> None:
        self._thresholds.append(thresholds)
        self._steps.append((kind, np.asarray(steps, dtype=np.float64)))

    def add_lives(self, detections: Detections, weights: NDArray[np.generic], kind: str) -> None:
        """Add `weights` (detections,) for the thresholds at which each detection lives."""
        mortal = np.isfinite(detections.low)
        self.add(detections.high, weights, kind)
        self.add(detections.low[mortal], -np.asarray(weights, dtype=np.float64)[mortal], kind)

    def totals(self) -> tuple[Floats, Floats, Floats]:
        """True positives, false positives and cross-triggers just under each threshold, sinking."""
        thresholds = np.concatenate(self._thresholds)
        order = np.argsort(-thresholds, kind="stable")
        last = last_of_ties(thresholds[order])
        true, false, crossed = (self._sum(kind, order)[last] for kind in ("true", "false", "cross"))
        return true, false, crossed

    def _sum(self, kind: str, order: NDArray[np.intp]) -> Floats:
        steps = [part if name == kind else np.zeros(len(part)) for name, part in self._steps]
        return np.cumsum(np.concatenate(steps)[order])
