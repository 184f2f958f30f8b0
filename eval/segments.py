"""Metrics of segments of a fixed length, and of whole clips: was it heard in this second, in this clip?

As sed_scores_eval has it: a segment's score is the highest score of the frames that overlap it, and it is
positive if a true event overlaps it. Segments are counted from the start of the recording; the last one may
reach over its end. Times are rounded to a microsecond first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval.corpus import Corpus, FrameScores, align
from peaframe.eval.counts import Counts, FScores, scored_labels
from peaframe.eval.ranked import Items, Ranked, count
from peaframe.eval.ranking import RankingResult, rank_auroc, rank_average_precision
from peaframe.events import Event

__all__ = [
    "clip_auroc",
    "clip_average_precision",
    "clips",
    "segment_auroc",
    "segment_average_precision",
    "segment_counts",
    "segment_f1",
    "segments",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_DECIMALS = 6
_SHORTEST = 0.001


def segment_auroc(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    segment: float = 1.0,
    durations: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
    max_fpr: float = 1.0,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """AUROC of each label over all segments of all recordings.

    With `max_fpr` 0.1 and segments of 1 s, `macro` is mpAUC, the metric of DCASE 2024 for MAESTRO Real. Its truth
    is soft: hand in as events the seconds whose confidence is over 0.5.

    Args:
        scores: Scores by recording, all with the same labels.
        truth: True events by recording; those of one label may overlap.
        segment: Length of a segment in seconds, at least a millisecond.
        durations: Seconds of each recording: what comes later counts nowhere, and segments without frames score
            lower than all others (sed_scores_eval: 0). By default segments go from where scores or events
            begin, whichever is earlier, to where both have ended.
        labels: Score these labels only; by default all labels of the scores.
        max_fpr: As for `auroc`.
        weights: (resamples, recordings) how often each recording counts, in the order of their names: the macro
            average is then also taken for each row, as `samples`.

    Raises:
        OptionError: Scores, truth, durations and labels do not fit each other, no label has ground truth, or
            another argument is out of range.
    """
    return rank_auroc(segments(align(scores, truth, labels), segment, durations), max_fpr, weights)


def segment_average_precision(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    segment: float = 1.0,
    durations: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """Average precision of each label over all segments of all recordings; else as `segment_auroc`."""
    return rank_average_precision(segments(align(scores, truth, labels), segment, durations), weights)


def segment_f1(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    threshold: float | Mapping[str, float] | Literal["best"] = 0.5,
    *,
    segment: float = 1.0,
    durations: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
) -> FScores:
    """F-scores of segments, detected where their score is greater than a threshold (compared in float32).

    False alarms of labels without ground truth count nowhere. At "best", a label's threshold is minus infinity
    where all segments with a frame should be detected, and infinity where none finds a true one.

    Args:
        scores: As for `segment_auroc`; so are the arguments after `threshold`.
        truth: True events by recording.
        threshold: One for all labels, one for each, or "best": each label's own with the highest F, halfway
            between two scores, and the highest of equally good ones. That is chosen on the very data it is
            measured on, so it shows what scores could do, not what a detector does.
        segment: Length of a segment in seconds.
        durations: Seconds of each recording.
        labels: Score these labels only.

    Raises:
        OptionError: As `segment_auroc`; a label without a threshold, or one that is not a number.
    """
    items = segments(align(scores, truth, labels), segment, durations)
    corpus = items.corpus
    if not isinstance(threshold, str):
        given = _thresholds(threshold, tuple(corpus.files_with))
    elif threshold == "best":
        given = {}
    else:
        raise OptionError(
            f'got the threshold {threshold!r}; expected a number, one for each label, or "best"'
        )
    scored = tuple(corpus.files_with)
    chosen: dict[str, float] = {}
    rows = []
    for label in scored:
        counts = count(*items.of(label))
        chosen[label] = given[label] if label in given else _best(counts)
        rows.append(_confusion(counts, chosen[label]))
    true, hit, found = (np.array([column], dtype=np.int64) for column in zip(*rows, strict=True))
    everything = Counts(("all",), scored, corpus.without_truth, true, hit, found, hit, chosen)
    return dataclasses.replace(everything.f_scores(), recordings=len(corpus.files))


def segment_counts(
    estimated: Mapping[str, Sequence[Event]],
    truth: Mapping[str, Sequence[Event]],
    *,
    segment: float = 1.0,
    labels: Sequence[str] | None = None,
) -> Counts:
    """Count segments with and without detections: what segment-based F-scores of events are made of.

    As `segment_based`, without sed_eval: a segment is active if an event overlaps it.

    Args:
        estimated: Detected events by recording; a recording without a key has none.
        truth: True events by recording; a recording without a key has none.
        segment: Length of a segment in seconds, at least a millisecond.
        labels: Score these labels only; by default all that occur.

    Raises:
        OptionError: Segments of no sensible length, or no label has ground truth.
    """
    _check_segment(segment)
    scored, unscored = scored_labels(estimated, truth, labels)
    files = tuple(sorted(set(estimated) | set(truth)))
    true, hit, found = np.zeros((3, len(files), len(scored)), dtype=np.int64)
    for row, file in enumerate(files):
        real, claimed = (_active(events.get(file, ()), segment) for events in (truth, estimated))
        for column, label in enumerate(scored):
            one, other = real.get(label, set()), claimed.get(label, set())
            true[row, column], hit[row, column], found[row, column] = len(one), len(one & other), len(other)
    return Counts(files, tuple(scored), unscored, true, hit, found, hit)


def _active(events: Sequence[Event], segment: float) -> dict[str, set[int]]:
    """The numbers of the segments that each label's events overlap."""
    active: dict[str, set[int]] = {}
    for event in events:
        first = math.floor(round(event.onset / segment, _DECIMALS))
        stop = math.ceil(round(event.offset / segment, _DECIMALS))
        active.setdefault(event.label, set()).update(range(first, stop))
    return active


def clip_auroc(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    max_fpr: float = 1.0,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """AUROC of each label over recordings, each with its highest score; else as `segment_auroc`."""
    return rank_auroc(clips(align(scores, truth, labels)), max_fpr, weights)


def clip_average_precision(
    scores: Mapping[str, FrameScores],
    truth: Mapping[str, Sequence[Event]],
    *,
    labels: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
) -> RankingResult:
    """Average precision of each label over recordings, whose mean is mAP; else as `clip_auroc`."""
    return rank_average_precision(clips(align(scores, truth, labels)), weights)


def segments(corpus: Corpus, segment: float = 1.0, durations: Mapping[str, float] | None = None) -> Items:
    """Every segment of every recording, as items to rank; arguments as for `segment_auroc`."""
    _check_segment(segment)
    if durations is not None:
        _check_durations(durations, corpus)
    grids = [_grid(corpus, file, segment, durations) for file in range(len(corpus.files))]
    bounds = np.concatenate(([0], np.cumsum([len(grid) - 1 for grid in grids]))).astype(np.intp)
    first, stop = np.empty(bounds[-1], dtype=np.intp), np.empty(bounds[-1], dtype=np.intp)
    before = np.concatenate(([0], np.cumsum(corpus.frames)))
    for file, grid in enumerate(grids):
        edges, own = np.round(corpus.edges_of(file), _DECIMALS), slice(bounds[file], bounds[file + 1])
        begin = np.searchsorted(edges, grid[:-1], side="right") - 1
        first[own] = before[file] + np.maximum(begin, 0)
        stop[own] = before[file] + np.minimum(np.searchsorted(edges, grid[1:]), corpus.frames[file])

    def of(label: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        positive = np.zeros(int(bounds[-1]), dtype=np.bool_)
        for file in corpus.files_with.get(label, ()):
            spans = np.round(corpus.truth[file][label], _DECIMALS)
            begins = bounds[file] + np.searchsorted(grids[file][1:], spans[:, 0], side="right")
            ends = bounds[file] + np.searchsorted(grids[file][:-1], spans[:, 1])
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
                positive[begin:end] = True
        return _highest(corpus.column(label), first, stop), positive

    return Items(corpus, np.repeat(np.arange(len(corpus.files), dtype=np.intp), np.diff(bounds)), of)


def clips(corpus: Corpus) -> Items:
    """Every recording as one item to rank: its highest score, positive if an event happens in it."""
    bounds = np.concatenate(([0], np.cumsum(corpus.frames))).astype(np.intp)

    def of(label: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        positive = np.zeros(len(corpus.files), dtype=np.bool_)
        positive[corpus.files_with.get(label, [])] = True
        return _highest(corpus.column(label), bounds[:-1], bounds[1:]), positive

    return Items(corpus, np.arange(len(corpus.files), dtype=np.intp), of)


def _check_segment(segment: float) -> None:
    if not _SHORTEST <= segment < math.inf:
        raise OptionError(f"got segments of {segment:g} s; expected a length of at least {_SHORTEST:g} s")


def _grid(corpus: Corpus, file: int, segment: float, durations: Mapping[str, float] | None) -> Floats:
    """Where the segments of a recording begin and end, in seconds: (segments + 1,)."""
    if durations is not None:
        begin, end = 0.0, durations[corpus.files[file]]
    else:
        spans = list(corpus.truth[file].values())
        edges = corpus.edges_of(file)
        begin = min([float(edges[0]), *(float(own[0, 0]) for own in spans)])
        end = max([float(edges[-1]), *(float(own[-1, 1]) for own in spans)])
    first = math.floor(round(begin / segment, _DECIMALS))
    last = max(math.ceil(round(end / segment, _DECIMALS)), first + 1)
    grid: Floats = np.round(np.arange(first, last + 1) * segment, _DECIMALS)
    return grid


def _highest(values: NDArray[np.float32], first: Ints, stop: Ints) -> NDArray[np.float32]:
    """The highest of `values[first:stop]` for each pair of these; minus infinity where there is none."""
    padded = np.append(values, np.float32(-np.inf))
    highest: NDArray[np.float32] = np.maximum.reduceat(padded, np.column_stack((first, stop)).ravel())[::2]
    return np.where(first < stop, highest, np.float32(-np.inf))


def _check_durations(durations: Mapping[str, float], corpus: Corpus) -> None:
    corpus.check_files(durations)
    for file in corpus.files:
        if not 0 < durations[file] < math.inf:
            raise OptionError(f"{file!r} lasts {durations[file]:g} s; expected a duration over 0 s")


def _thresholds(threshold: float | Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    given = threshold if isinstance(threshold, Mapping) else dict.fromkeys(labels, threshold)
    lacking = sorted(set(labels) - set(given))
    if lacking:
        raise OptionError(f"no threshold for {lacking[0]!r}; give one for all labels, or one for each")
    for label in labels:
        if math.isnan(given[label]):
            raise OptionError(f"the threshold of {label!r} is {given[label]}; expected a number")
    return {label: float(given[label]) for label in labels}


def _best(counts: Ranked) -> float:
    """The threshold with the highest F: halfway under the lowest score that has to exceed it."""
    scores = np.asarray(counts.values, dtype=np.float32)
    found, named = np.cumsum(counts.positives[::-1])[::-1], np.cumsum(counts.negatives[::-1])[::-1]
    f = np.where(np.isfinite(scores), 2 * found / (found + named + found[0]), 0.0)
    at = len(f) - 1 - int(np.argmax(f[::-1]))
    if not f[at]:
        return math.inf
    over, under = float(scores[at]), float(scores[at - 1]) if at else -math.inf
    middle = float(np.float32(under + (over - under) / 2)) if math.isfinite(under) else under
    return middle if middle < over else under


def _confusion(counts: Ranked, threshold: float) -> tuple[float, float, float]:
    """Positives, hits, and everything that scores over the threshold."""
    over = np.asarray(counts.values, dtype=np.float32) > np.float32(threshold)
    hits = float(counts.positives[over].sum())
    return float(counts.positives.sum()), hits, hits + float(counts.negatives[over].sum())
