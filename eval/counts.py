"""Hits, misses and false alarms by recording and label; precision, recall and F-score of them and of resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.events import Event, merge_events

__all__ = ["Counts", "FScores", "scored_labels", "spans_by_label"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FScores:
    """Precision, recall and F-score, each in [0, 1] and 0 where nothing was found.

    Attributes:
        macro: Means over labels: the headline of DCASE. Keys `f_measure`, `precision`, `recall`.
        micro: Of all labels' counts together.
        per_label: Of each label; also `reference` and `estimated`, how many events there are.
        unscored: Labels without ground truth; detections of them count nowhere.
        recordings: How many recordings were scored.
        thresholds: The threshold of each label, if one was chosen.
    """

    macro: dict[str, float]
    micro: dict[str, float]
    per_label: dict[str, dict[str, float]]
    unscored: tuple[str, ...]
    recordings: int
    thresholds: dict[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Counts:
    """What was hit and what was not, of events or of segments; all arrays (recordings, labels).

    Attributes:
        files: Recordings, sorted.
        labels: Labels with ground truth, sorted.
        unscored: Labels without.
        true: True events.
        hit: True events that were detected.
        found: Detections.
        right: Detections that are no false alarm; with collars as many as `hit`. Several may be right for one
            event, so precision is hits / (hits + false alarms), as sed_scores_eval and psds_eval have it.
        thresholds: The threshold of each label, if one was chosen.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    unscored: tuple[str, ...]
    true: Ints
    hit: Ints
    found: Ints
    right: Ints
    thresholds: dict[str, float] | None = None

    def f_scores(self) -> FScores:
        """Precision, recall and F-score over all recordings."""
        true, hit, found, right = (part.sum(axis=0) for part in (self.true, self.hit, self.found, self.right))
        rows = [_scores(*numbers) for numbers in zip(true, hit, found, right, strict=True)]
        per_label = {
            label: {**row, "reference": float(t), "estimated": float(f)}
            for label, row, t, f in zip(self.labels, rows, true, found, strict=True)
        }
        macro = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        micro = _scores(true.sum(), hit.sum(), found.sum(), right.sum())
        return FScores(macro, micro, per_label, self.unscored, len(self.files), self.thresholds)

    def macro_samples(self, weights: NDArray[np.integer[Any]]) -> Floats:
        """Macro F-score of each resample, (resamples,), over the labels that have true events in it.

        Args:
            weights: (resamples, recordings) how often each recording counts.
        """
        true, hit, found, right = (weights @ part for part in (self.true, self.hit, self.found, self.right))
        f = _f_score(true, hit, found, right)
        there = true > 0
        means: Floats = np.divide(
            np.sum(f, axis=1, where=there),
            there.sum(axis=1),
            out=np.full(len(f), np.nan),
            where=there.any(axis=1),
        )
        return means

    def micro_samples(self, weights: NDArray[np.integer[Any]]) -> Floats:
        """Micro F-score of each resample, (resamples,); weights as for `macro_samples`."""
        parts = (self.true, self.hit, self.found, self.right)
        return _f_score(*((weights @ part.sum(axis=1)).astype(np.float64) for part in parts))

    def by_file(self) -> list[tuple[str, float, int, int]]:
        """Of each recording: its name, micro F-score, missed events, false alarms."""
        sums = [part.sum(axis=1) for part in (self.true, self.hit, self.found, self.right)]
        f = _f_score(*sums)
        missed, false = sums[0] - sums[1], sums[2] - sums[3]
        return list(zip(self.files, f.tolist(), missed.tolist(), false.tolist(), strict=True))


def scored_labels(
    estimated: Mapping[str, Sequence[Event]],
    truth: Mapping[str, Sequence[Event]],
    labels: Sequence[str] | None = None,
) -> tuple[list[str], tuple[str, ...]]:
    """Labels to score, and those that cannot be: both sorted.

    Args:
        estimated: Detected events by recording.
        truth: True events by recording.
        labels: These only; by default all that occur.

    Raises:
        OptionError: No label has ground truth.
    """
    real = {event.label for events in truth.values() for event in events}
    claimed = {event.label for events in estimated.values() for event in events}
    wanted = real | claimed if labels is None else set(labels)
    if not wanted & real:
        raise OptionError(
            f"none of the {len(wanted)} labels has an event in the ground truth of {len(truth)} recordings; "
            "expected at least one to score"
        )
    return sorted(wanted & real), tuple(sorted(wanted - real))


def spans_by_label(events: Sequence[Event], *, merge: bool) -> dict[str, Floats]:
    """A recording's events as (events, 2) onsets and offsets of each label, sorted, and merged if asked."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for event in merge_events(events) if merge else sorted(events):
        spans.setdefault(event.label, []).append((event.onset, event.offset))
    return {label: np.array(rows, dtype=np.float64) for label, rows in spans.items()}


def _scores(true: float, hit: float, found: float, right: float) -> dict[str, float]:
    return {
        "f_measure": float(
            _f_score(*(np.array([x], dtype=np.float64) for x in (true, hit, found, right)))[0]
        ),
        "precision": float(hit / (hit + found - right)) if hit else 0.0,
        "recall": float(hit / true) if true else 0.0,
    }


def _f_score(true: NDArray[Any], hit: NDArray[Any], found: NDArray[Any], right: NDArray[Any]) -> Floats:
    """2 hits / (2 hits + misses + false alarms); 0 where nothing is."""
    total = true + hit + found - right
    out: Floats = np.divide(2.0 * hit, total, out=np.zeros(np.shape(total)), where=total > 0)
    return out
