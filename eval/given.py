"""Score what any system made: score tables, or lists of detected events, against a table of true events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError, OptionError
from peaframe.eval.given_files import Events, durations_of, events_of, same_recordings, scored_tables
from peaframe.eval.operating_points import psds_of_points
from peaframe.eval.psds import PSDS1, PSDS2
from peaframe.eval.suite import evaluate
from peaframe.version import __version__

__all__ = ["score_events", "score_tables"]

FEW = 5


def score_tables(
    scores: Path,
    reference: Path,
    durations: Path,
    threshold: float | None = None,
    *,
    resamples: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a folder of score tables.

    Args:
        scores: The folder; a table for each recording of `durations`.
        reference: Table of true events.
        durations: Table of the recordings that are scored and their seconds.
        threshold: Where events begin, for the metrics that need events; by default 0.5, and it is said if scores are
            no probabilities.
        resamples: As for `evaluate`.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        The document of `evaluate`, with what a report wants to know besides.

    Raises:
        FormatError: A table cannot be read; with file and line.
        OptionError: Recordings are in one of the three only, or labels do not fit.
    """
    began = time.perf_counter()
    given = scored_tables(scores, reference, durations, threshold)
    document = evaluate(
        given.truth, given.seconds, given.found, given.scores, resamples=resamples, progress=progress
    )
    document["settings"]["threshold"] = given.threshold
    return _finished(
        document,
        [*given.mended, *given.notes],
        f"{scores.resolve().name}, {len(given.seconds)} recordings",
        began,
    )


def score_events(
    reference: Path,
    estimated: Path,
    durations: Path | None = None,
    *,
    resamples: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a table of detected events, or a folder of such tables, one for each operating point.

    Args:
        reference: Table of true events.
        estimated: Table of detected events; of a folder, PSDS is taken over its tables, and needs `durations`.
        durations: Table of the recordings that are scored and their seconds; without it they are those that
            either table names, each up to its last event.
        resamples: As for `evaluate`.
        progress: Show a bar on stderr if that is a terminal.

    Raises:
        FormatError: A table cannot be read; with file and line.
        OptionError: Recordings that `durations` does not name.
    """
    seconds = None if durations is None else durations_of(durations)
    truth, notes = events_of(reference, seconds)
    if estimated.is_dir():
        if seconds is None or durations is None:
            raise OptionError(f"{estimated}: is a folder of operating points, whose PSDS needs --durations")
        same_recordings(truth, seconds, reference, durations)
        if resamples:
            notes.append("no intervals: operating points are not resampled")
        return _points(truth, seconds, estimated, durations, notes)
    found, more = events_of(estimated, seconds, detected=True)
    notes += more
    if not any(found.values()):
        notes.append(f"{estimated.name}: holds no detection")
    if seconds is None or durations is None:
        seconds = {
            name: max((e.offset for e in (*truth.get(name, ()), *found.get(name, ()))), default=1.0)
            for name in {*truth, *found}
        }
        notes.append("hours count each recording up to its last event, for want of --durations")
        for one, other, what in ((truth, found, "true events"), (found, truth, "detections")):
            if only := sorted(set(one) - set(other)):
                notes.append(f"recordings in the table of {what} only: {len(only)}, first {only[0]!r}")
    else:
        same_recordings(truth, seconds, reference, durations)
        same_recordings(found, seconds, estimated, durations)
    began = time.perf_counter()
    document = evaluate(truth, seconds, found, resamples=resamples, progress=progress)
    return _finished(document, notes, f"{estimated.resolve().name}, {len(seconds)} recordings", began)


def _points(
    truth: Events, seconds: dict[str, float], folder: Path, durations: Path, notes: list[str]
) -> dict[str, Any]:
    paths = sorted(path for path in folder.glob("*.tsv") if not path.name.startswith("."))
    if not paths:
        raise FormatError(
            f"{folder}: holds no .tsv files; expected a table of events for each operating point"
        )
    points, said = [], []
    for path in paths:
        found, more = events_of(path, seconds, detected=True)
        same_recordings(found, seconds, path, durations)
        points.append(found)
        said += more
    notes += said[:FEW]
    if said[FEW:]:
        notes.append(f"and {len(said) - FEW} more such notes of operating points")
    began = time.perf_counter()
    one, two = (psds_of_points(points, truth, seconds, settings) for settings in (PSDS1, PSDS2))
    if one.merged:
        notes.append(
            f"true events merged into another of their label that they overlap or touch: {one.merged}"
        )
    values = {"psds1": one.value, "psds1_a": one.macro, "psds2": two.value, "psds2_a": two.macro}
    document: dict[str, Any] = {
        "recordings": len(seconds),
        "hours": one.hours,
        "events": sum(map(len, truth.values())) - one.merged,
        "metrics": {key: {"value": value, "low": None, "high": None} for key, value in values.items()},
        "per_label": {
            label: {"psds1": one.per_label[label], "psds2": two.per_label[label]} for label in one.per_label
        },
        "unscored": list(one.unscored),
        "curves": {
            "psd_roc": {
                "max_efpr": PSDS1.max_efpr,
                "mean": {"efpr": one.curve.rate.tolist(), "etpr": one.curve.hits.tolist()},
                "labels": {
                    label: {"efpr": roc.rate.tolist(), "tpr": roc.hits.tolist()}
                    for label, roc in one.curves.items()
                },
            }
        },
        "notes": [f"PSDS of {len(points)} operating points, which is at most that of all thresholds"],
        "settings": {"operating points": len(points)},
    }
    title = f"{folder.resolve().name}, {len(seconds)} recordings at {len(points)} operating points"
    return _finished(document, notes, title, began)


def _finished(document: dict[str, Any], notes: Sequence[str], title: str, began: float) -> dict[str, Any]:
    document["notes"] = [*notes, *document["notes"]]
    return document | {
        "peaframe": __version__,
        "title": title,
        "benchmark": None,
        "complete": True,
        "missing": [],
        "seconds": {"metrics": time.perf_counter() - began},
    }
