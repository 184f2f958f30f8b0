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

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, FrameScores, align
from peaframe.eval.intersection import CrossTruth
from peaframe.eval.psd_roc import Roc, Tally
from peaframe.events import Event

__all__ = ["PSDS1", "PSDS2", "PSDSResult", "PSDSSettings", "psds", "result_of"]

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


@dataclass(frozen=True, slots=True, eq=False)
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
        curve: The PSD-ROC over all labels: effective true positive rate from each effective false positive
            rate on.
        curves: Each label's own.
        samples: (resamples,) `value` of each resample, if any were asked for.
        macro_samples: (resamples,) `macro` of each.
    """

    value: float
    macro: float
    per_label: dict[str, float]
    unscored: tuple[str, ...]
    merged: int
    recordings: int
    hours: float
    curve: Roc
    curves: dict[str, Roc]
    samples: Floats
    macro_samples: Floats


def psds(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    settings: PSDSSettings = PSDS1,
    *,
    durations: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
    present_only: bool = False,
    weights: NDArray[np.integer[Any]] | None = None,
) -> PSDSResult:
    """Score frame scores against true events.

    Args:
        scores: Scores by recording, all with the same labels; a `ScoreStore` if they are too many to hold.
        truth: True events by recording; a recording it does not name has none. Events of one label that
            overlap or touch are merged first.
        settings: `PSDS1`, `PSDS2`, or any others.
        durations: Seconds of each recording; by default what its scores cover.
        labels: Score these labels only; by default all labels of the scores.
        present_only: Take the scores of each recording's absent labels for 0, or for the label's least score if
            some are negative, as logits are: with the settings of PSDS1 the macro mean then is PSDS1_T (FlexSED),
            which asks when and not whether.
        weights: (resamples, recordings) how often each recording counts in each resample, recordings by
            name; see `peaframe.eval.resample`.

    Raises:
        OptionError: Scores, truth, durations and labels do not fit each other, or no label has ground truth.
    """
    corpus = align(scores, truth, labels)
    seconds = _seconds(corpus, durations)
    hours = float(seconds.sum()) / 3600
    rows = np.zeros((0, len(corpus.files))) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.shape[1:] != (len(corpus.files),):
        raise OptionError(
            f"got weights of shape {rows.shape}, expected (resamples, {len(corpus.files)} recordings)"
        )
    cross = CrossTruth.of(corpus) if settings.alpha_ct > 0 else None
    rocs: dict[str, Roc] = {}
    resampled: list[list[Roc]] = [[] for _ in rows]
    for label in corpus.files_with:
        tally = Tally.of(
            corpus,
            label,
            settings.dtc,
            settings.gtc,
            settings.cttc,
            cross,
            present_only=present_only,
        )
        costs = None if cross is None else settings.alpha_ct * cross.costs(label)
        rocs[label] = tally.roc(hours, costs)
        for row, own in zip(rows, resampled, strict=True):
            if tally.events @ row > 0:
                costs = None if cross is None else settings.alpha_ct * cross.costs(label, row)
                own.append(tally.roc(float(seconds @ row) / 3600, costs, row))
    none = float("nan")
    return dataclasses.replace(
        result_of(rocs, settings, corpus.without_truth, corpus.merged, len(corpus.files), hours),
        samples=np.array([_area(_combined(own, settings), settings) if own else none for own in resampled]),
        macro_samples=np.array(
            [np.mean([roc.area(settings.max_efpr) for roc in own]) if own else none for own in resampled]
        ),
    )


def result_of(
    rocs: dict[str, Roc],
    settings: PSDSSettings,
    unscored: tuple[str, ...],
    merged: int,
    recordings: int,
    hours: float,
) -> PSDSResult:
    """What the labels' staircases make together; without samples."""
    per_label = {label: roc.area(settings.max_efpr) for label, roc in rocs.items()}
    curve = _combined(list(rocs.values()), settings)
    macro = float(np.mean(list(per_label.values())))
    return PSDSResult(
        _area(curve, settings),
        macro,
        per_label,
        unscored,
        merged,
        recordings,
        hours,
        curve,
        rocs,
        np.zeros(0),
        np.zeros(0),
    )


def _seconds(corpus: Corpus, durations: Mapping[str, float] | None) -> Floats:
    """Seconds of each recording, after checking that durations and scores are of the same ones."""
    if durations is None:
        seconds = corpus.edges[corpus.first[1:] - 1] - corpus.edges[corpus.first[:-1]]
    else:
        corpus.check_files(durations)
        seconds = np.array([durations[file] for file in corpus.files], dtype=np.float64)
    if not 0 < seconds.sum() < np.inf:
        raise OptionError(f"got recordings of {seconds.sum():g} seconds together; expected more than 0")
    return seconds


def _combined(rocs: Sequence[Roc], settings: PSDSSettings) -> Roc:
    """Mean minus spread of the labels' staircases, up to `max_efpr`; two passes, a label at a time."""
    rates = np.unique(np.concatenate([np.zeros(1), *(roc.rate for roc in rocs)]))
    rates = rates[rates < settings.max_efpr]
    mean = sum((roc.at(rates) for roc in rocs), np.zeros(len(rates))) / len(rocs)
    variance = sum(((roc.at(rates) - mean) ** 2 for roc in rocs), np.zeros(len(rates))) / len(rocs)
    return Roc(rates, np.maximum(mean - settings.alpha_st * np.sqrt(variance), 0.0))


def _area(curve: Roc, settings: PSDSSettings) -> float:
    widths = np.diff(curve.rate, append=settings.max_efpr)
    return min(float(np.sum(curve.hits * widths) / settings.max_efpr), 1.0)
