"""PSDS of a system that gives no scores, only lists of events, one for each operating point.

That is how psds_eval takes it. The result is what these points show, and so at most what `psds` finds over all
thresholds: 50 of them cost DCASE's baselines about a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import OptionError
from peaframe.eval.counts import scored_labels, spans_by_label
from peaframe.eval.overlap import reaches
from peaframe.eval.psd_roc import staircase
from peaframe.eval.psds import PSDS1, PSDSResult, PSDSSettings, result_of
from peaframe.events import Event

__all__ = ["psds_of_points"]

Floats = NDArray[np.float64]


def psds_of_points(
    points: Sequence[Mapping[str, Sequence[Event]]],
    truth: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    settings: PSDSSettings = PSDS1,
    *,
    labels: Sequence[str] | None = None,
) -> PSDSResult:
    """Score one list of detections for each operating point.

    Args:
        points: For each point, detected events by recording; a recording without a key has none.
        truth: True events by recording.
        durations: Seconds of every recording.
        settings: `PSDS1`, `PSDS2`, or any others.
        labels: Score these labels only; by default all that occur.

    Raises:
        OptionError: No points, an event of a recording without duration, or no label has ground truth.
    """
    if not points:
        raise OptionError("got no operating points; expected one list of events or more")
    named = set(truth).union(*points)
    if unknown := sorted(named - set(durations)):
        raise OptionError(
            f"no duration for {unknown[0]!r} and {len(unknown) - 1} more recordings; give the seconds of all"
        )
    files = sorted(durations)
    hours = sum(durations.values()) / 3600
    every = {f"{n} {file}": events for n, point in enumerate(points) for file, events in point.items()}
    scored, unscored = scored_labels(every, truth, labels)
    given = sum(len([e for e in events if e.label in scored]) for events in truth.values())
    real = [spans_by_label(truth.get(file, ()), merge=True) for file in files]
    merged = given - sum(len(spans) for own in real for label, spans in own.items() if label in scored)
    counts = np.zeros((len(points), len(scored), 2 + len(scored)))  # hits, false positives, cross-triggers
    for number, point in enumerate(points):
        for file, own in zip(files, real, strict=True):
            _count(spans_by_label(point.get(file, ()), merge=True), own, scored, settings, counts[number])
    events = np.array([sum(len(own.get(label, ())) for own in real) for label in scored])
    lengths = np.array(
        [sum(float(np.sum(np.diff(own[label]))) for own in real if label in own) for label in scored]
    )
    rocs = {}
    for index, label in enumerate(scored):
        rate = counts[:, index, 1] / hours
        if settings.alpha_ct > 0 and len(scored) > 1:
            others = np.delete(counts[:, index, 2:] / (lengths / 3600), index, axis=1)
            rate = rate + settings.alpha_ct * others.mean(axis=1)
        rocs[label] = staircase(rate, counts[:, index, 0] / events[index])
    return result_of(rocs, settings, unscored, merged, len(files), hours)


def _count(
    found: Mapping[str, Floats],
    real: Mapping[str, Floats],
    scored: Sequence[str],
    settings: PSDSSettings,
    counts: NDArray[np.float64],
) -> None:
    """Add one recording's hits, false positives and cross-triggers to (labels, 2 + labels)."""
    none = np.zeros((0, 2))
    for index, label in enumerate(scored):
        if label not in found:
            continue
        detections, own = found[label], real.get(label, none)
        relevant = reaches(detections, own, settings.dtc)
        false = detections[~relevant]
        counts[index, 0] += np.sum(reaches(own, detections[relevant], settings.gtc))
        counts[index, 1] += len(false)
        if settings.alpha_ct > 0 and settings.cttc is not None and len(false):
            for other, name in enumerate(scored):
                if other != index and name in real:
                    counts[index, 2 + other] += np.sum(reaches(false, real[name], settings.cttc))
