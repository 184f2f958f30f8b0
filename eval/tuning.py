"""Post-processing and calibration, fitted on development data.

Whatever is fitted here belongs to the recordings it was fitted on: report results on others.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe import clock, spans
from peaframe.boxes import BoxOptions
from peaframe.calibration import Calibration, Isotonic, Platt, QueryFit, fit_isotonic, fit_platt, log_odds
from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, align
from peaframe.eval.laid import Laid
from peaframe.events import Event, EventOptions, activity
from peaframe.scores import Scores

__all__ = ["TuningGrid", "cross_entropy", "fit_calibration", "tune_events"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Spans = tuple[Ints, Ints]

_FITS: Mapping[str, Callable[..., Platt | Isotonic]] = {"platt": fit_platt, "isotonic": fit_isotonic}
ENOUGH = 5  # true events, from which on a label is fitted for itself
PRIOR_EVENTS = 5.0  # true events and as many detections that all labels together lend to each

# About evenly spaced in log-odds, from -6 to 4.6.
_LOWER = (0.0025, 0.0035, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.18, 0.25, 0.32, 0.4)
THRESHOLDS = (*_LOWER, 0.5, 0.6, 0.68, 0.75, 0.82, 0.87, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
BOXES = tuple(
    BoxOptions(step, absolute, relative)
    for step in (0.32, 0.48, 0.64)
    for absolute, relative in ((0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.2, 1.0))
)


@dataclass(frozen=True)
class TuningGrid:
    """What is tried: every combination of these; simple ones come first, and win where others are no better.

    Attributes:
        thresholds: Thresholds, for all else alike.
        medians: Lengths of the median filter in seconds.
        lows: `EventOptions.low` as a share of the threshold; 1 for no hysteresis.
        merge_gaps: Lengths in seconds.
        min_durations: Lengths in seconds.
        boxes: Change detection; it takes the place of median, hysteresis and gaps, which are not tried with it.

    Raises:
        OptionError: Nothing to try, or a value that makes no sense.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    medians: tuple[float, ...] = (0.0, 0.2, 0.36, 0.6)
    lows: tuple[float, ...] = (1.0, 0.5)
    merge_gaps: tuple[float, ...] = (0.0, 0.2, 0.4)
    min_durations: tuple[float, ...] = (0.0, 0.2)
    boxes: tuple[BoxOptions, ...] = BOXES

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.lows):
            raise OptionError(f"lows are {self.lows}; give shares of the threshold from 0 to 1")
        if not self.options():
            raise OptionError("nothing to try; give at least one value of every option")

    def options(self) -> list[EventOptions]:
        """All combinations, in the order of `_counted`."""
        plain = itertools.product(
            self.medians, self.lows, self.thresholds, self.merge_gaps, self.min_durations
        )
        tried = [
            EventOptions(threshold, None if share == 1 else share * threshold, median, shortest, gap)
            for median, share, threshold, gap, shortest in plain
        ]
        boxed = itertools.product(self.boxes, self.thresholds, self.min_durations)
        return tried + [
            EventOptions(threshold, min_duration=shortest, boxes=boxes)
            for boxes, threshold, shortest in boxed
        ]


def tune_events(
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    grid: TuningGrid = TuningGrid(),
    enough: int = ENOUGH,
    prior_events: float = PRIOR_EVENTS,
    progress: bool = False,
) -> dict[str, EventOptions]:
    """Find for each label the event options with the best event-based F1 (collars of DCASE task 4).

    The options with the best mean F1 over labels are the shared ones. A label's own have the best
    (2 hits + k F) / (detections + true events + k), where k is `2 * prior_events` and F is the mean F1 of all labels
    with these options: the fewer events a label has, the more it keeps to what is good for all.

    Args:
        scores: Scores by recording.
        truth: True events by recording; those of one label that overlap or touch are merged.
        labels: Tune these only; by default all labels of the scores.
        grid: What to try.
        enough: Labels with fewer true events than this get the shared options.
        prior_events: How strongly labels keep to what is good for all.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        Options by label, in the order of their names. Equal input gives equal options.

    Raises:
        OptionError: As `peaframe.eval.psds`, for scores and truth that do not fit together.
    """
    corpus = align(scores, truth, labels)
    laid = Laid(corpus)
    options = grid.options()
    heard = list(corpus.files_with)
    hits = np.zeros((len(heard), len(options)))
    found = np.zeros((len(heard), len(options)))
    for row, label in enumerate(tqdm(heard, desc="tune", unit="label", disable=None if progress else True)):
        for column, detections in enumerate(_detections(laid, corpus.column(label), grid)):
            hits[row, column] = laid.hits(label, *detections)
            found[row, column] = len(detections[0])
    true = np.array([len(laid.true(label)[0]) for label in heard], dtype=np.float64)[:, None]
    mean = (2 * hits / (found + true)).mean(axis=0)
    own = (2 * hits + 2 * prior_events * mean) / (found + true + 2 * prior_events)
    shared = options[int(mean.argmax())]
    chosen = {
        label: options[int(row.argmax())] if count >= enough else shared
        for label, row, count in zip(heard, own, true[:, 0], strict=True)
    }
    return {label: chosen.get(label, shared) for label in corpus.labels}


def fit_calibration(
    scores: Mapping[str, Scores],
    truth: Mapping[str, Sequence[Event]],
    *,
    model: str,
    method: Literal["platt", "isotonic"] = "platt",
    labels: Sequence[str] | None = None,
    grid: TuningGrid = TuningGrid(),
    enough: int = ENOUGH,
    prior_events: float = PRIOR_EVENTS,
    progress: bool = False,
) -> Calibration:
    """Fit probabilities, then event options on the calibrated scores, for each label.

    A label with fewer than `enough` true events gets the curve and prior of all labels' frames together, and the
    shared event options; so does, for its curve, one that is active in all frames or none.

    Args:
        scores: Scores by recording, as the model made them.
        truth: True events by recording.
        model: The model's name; the calibration serves no other.
        method: The kind of curve, see `peaframe.calibration`.
        labels: Fit these only; by default all labels of the scores.
        grid: What to try for events, as `enough`, `prior_events` and `progress` in `tune_events`.
        enough: As there, and for curves as well.
        prior_events: As there.
        progress: As there.

    Raises:
        OptionError: As `tune_events`; an unknown method; scores of another model, or calibrated before.
    """
    if method not in _FITS:
        raise OptionError(f"got method {method!r}; expected platt or isotonic")
    fit = _FITS[method]
    corpus = align(scores, truth, labels)
    pool = _Pool()
    curves: dict[str, Platt | Isotonic] = {}
    priors: dict[str, float] = {}
    counts = {label: sum(len(own.get(label, ())) for own in corpus.truth) for label in corpus.labels}
    active = _targets(scores, truth, corpus)
    for label in corpus.labels:
        values, targets = corpus.column(label), active[label]
        pool.add(values, targets)
        if counts[label] >= enough and 0 < targets.sum() < len(targets):
            curves[label], priors[label] = fit(values, targets), float(targets.mean())
    everyones, prior = fit(*pool.frames()), pool.prior()
    plain = EventOptions()
    rough = Calibration(
        model,
        {
            label: QueryFit(curves.get(label, everyones), priors.get(label, prior), plain, counts[label])
            for label in corpus.labels
        },
    )
    calibrated = {name: rough.apply(own) for name, own in scores.items()}
    tuned = tune_events(
        calibrated,
        truth,
        labels=corpus.labels,
        grid=grid,
        enough=enough,
        prior_events=prior_events,
        progress=progress,
    )
    queries = {
        label: dataclasses.replace(rough.queries[label], events=tuned[label], shared=label not in curves)
        for label in corpus.labels
    }
    return Calibration(model, queries)


def cross_entropy(
    scores: Mapping[str, Scores], truth: Mapping[str, Sequence[Event]], labels: Sequence[str] | None = None
) -> float:
    """How far scores are from the truth: the mean of -log(probability given to what was true) over frames and labels.

    Scores are first brought within 1e-7 of 0 and 1. Arguments and errors as in `tune_events`.
    """
    corpus = align(scores, truth, labels)
    active = _targets(scores, truth, corpus)
    total = 0.0
    for label in corpus.labels:
        odds = log_odds(corpus.column(label))
        total += float(np.logaddexp(0, np.where(active[label], -odds, odds)).sum())
    return total / (len(corpus.labels) * max(1, int(corpus.frames.sum())))


def _targets(
    scores: Mapping[str, Scores], truth: Mapping[str, Sequence[Event]], corpus: Corpus
) -> dict[str, NDArray[np.bool_]]:
    """Whether each label is active in each frame of all recordings, end to end."""
    rows = [
        activity(
            [event for event in truth.get(file, ()) if event.label in corpus.labels],
            corpus.labels,
            scores[file].frames,
            scores[file].start,
        )
        for file in corpus.files
    ]
    whole = np.concatenate(rows)
    return {label: whole[:, column] for column, label in enumerate(corpus.labels)}


class _Pool:
    """The frames of all labels, counted by their log-odds to 1/256, so that they take no space."""

    _PER_UNIT, _ZERO = 256, 256 * 17

    def __init__(self) -> None:
        self._counts = np.zeros((2, 2 * self._ZERO), dtype=np.int64)

    def add(self, values: NDArray[np.float32], targets: NDArray[np.bool_]) -> None:
        place = np.rint(log_odds(values) * self._PER_UNIT).astype(np.intp) + self._ZERO
        for row in (0, 1):
            self._counts[row] += np.bincount(place[targets == bool(row)], minlength=2 * self._ZERO)

    def frames(self) -> tuple[Floats, NDArray[np.bool_], Floats]:
        """Scores, targets and weights."""
        row, place = np.nonzero(self._counts)
        odds = (place - self._ZERO) / self._PER_UNIT
        return 1 / (1 + np.exp(-odds)), row == 1, self._counts[row, place].astype(np.float64)

    def prior(self) -> float:
        quiet, active = self._counts.sum(axis=1).tolist()
        return float((active + 1) / (active + quiet + 2))


def _detections(laid: Laid, values: NDArray[np.float32], grid: TuningGrid) -> Iterator[Spans]:
    """The detections of one label with each of `grid.options()`, in that order."""
    shortest = [clock.frames_of_seconds(seconds) for seconds in grid.min_durations]
    for median in grid.medians:
        curve = laid.smooth(values, median)
        for share, threshold in itertools.product(grid.lows, grid.thresholds):
            low = None if share == 1 else share * threshold
            runs = spans.find_spans(curve, threshold=threshold, low=low, merge_gap_frames=0, min_frames=0)
            for gap in grid.merge_gaps:
                onsets, stops = laid.merged(*runs, gap)
                for frames in shortest:
                    kept = stops - onsets >= frames
                    yield onsets[kept], stops[kept]
    for boxes in grid.boxes:
        onsets, stops, confidences = laid.boxes(values, boxes)
        for threshold in grid.thresholds:
            for frames in shortest:
                kept = (confidences > np.float32(threshold)) & (stops - onsets >= frames)
                yield onsets[kept], stops[kept]
