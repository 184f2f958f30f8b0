"""Score what any system made: score tables, or lists of detected events, against a table of true events."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peaframe import formats
from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks.annotations import Annotations, read_durations, read_events
from peaframe.eval.benchmarks.audio_files import recording_id
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.eval.collar_scores import events_at
from peaframe.eval.operating_points import psds_of_points
from peaframe.eval.psds import PSDS1, PSDS2
from peaframe.eval.store import ScoreStore
from peaframe.eval.suite import evaluate
from peaframe.eval.tables import read_table, table_paths
from peaframe.events import Event
from peaframe.version import __version__

__all__ = ["score_events", "score_tables"]

FEW = 5
THRESHOLD = 0.5
Events = dict[str, list[Event]]


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
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"got the threshold {threshold}; expected a finite number")
    seconds = _durations(durations)
    truth, notes = _read(reference, seconds)
    _same(truth, seconds, reference, durations)
    tables = _tables(scores)
    _same(tables, seconds, scores, durations)
    if lacking := sorted(set(seconds) - set(tables)):
        raise OptionError(
            f"{durations}: {lacking[0]!r} and {len(lacking) - 1} more recordings have no table in {scores}; score all, "
            "or leave them out of the durations and the true events"
        )
    began = time.perf_counter()
    try:
        store = ScoreStore((name, read_table(path)) for name, path in tables.items())
    except OptionError as error:
        raise OptionError(f"{scores}: {error}") from error
    notes += _unlike(store, threshold)
    threshold = THRESHOLD if threshold is None else threshold
    found = {name: events_at(store[name], threshold) for name in store}
    document = evaluate(truth, seconds, found, store, resamples=resamples, progress=progress)
    document["settings"]["threshold"] = threshold
    return _finished(document, notes, f"{scores.resolve().name}, {len(seconds)} recordings", began)


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
    seconds = None if durations is None else _durations(durations)
    truth, notes = _read(reference, seconds)
    if estimated.is_dir():
        if seconds is None or durations is None:
            raise OptionError(f"{estimated}: is a folder of operating points, whose PSDS needs --durations")
        _same(truth, seconds, reference, durations)
        if resamples:
            notes.append("no intervals: operating points are not resampled")
        return _points(truth, seconds, estimated, durations, notes)
    found, more = _read(estimated, seconds, detected=True)
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
        _same(truth, seconds, reference, durations)
        _same(found, seconds, estimated, durations)
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
        found, more = _read(path, seconds, detected=True)
        _same(found, seconds, path, durations)
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


def _durations(path: Path) -> dict[str, float]:
    seconds = read_durations(path)
    if not seconds:
        raise FormatError(f"{path}: names no recording; expected a line for each: filename, duration")
    named: dict[str, str] = {}
    for where, row in read_rows(path, ("filename",)):
        if (first := named.setdefault(recording_id(row["filename"]), where)) != where:
            raise FormatError(f"{where}: got {row['filename']!r}, which {first} names too; name it once")
    return seconds


def _tables(folder: Path) -> dict[str, Path]:
    """The score tables by recording, in the order of their names; hidden ones do not count.

    Raises:
        FormatError: No table, or two for one recording.
    """
    tables: dict[str, Path] = {}
    for name, path in table_paths(folder).items():
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if (other := tables.setdefault(recording_id(name), path)) != path:
            raise FormatError(f"{path}: is a second table of a recording, beside {other.name}; keep one")
    return dict(sorted(tables.items()))


def _read(
    path: Path, seconds: Mapping[str, float] | None, detected: bool = False
) -> tuple[Events, list[str]]:
    """Events by recording, and what was mended.

    True events are cut at their recording's end; detections stay as they are, but for rows that are there twice.
    """
    annotations = Annotations()
    if path.suffix.lower() in (".tsv", ".txt", "") or path.is_dir():
        read_events(path, annotations)
    else:
        for name, own in formats.load(path).items():
            annotations.name(recording_id(name))
            for event in own:
                annotations.add(
                    recording_id(name), f"{event.onset}", f"{event.offset}", event.label, str(path)
                )
    ends = {} if seconds is None or detected else seconds
    events, notes = annotations.mended(ends, "detections" if detected else "true events")
    late = (
        sum(e.offset > seconds.get(name, e.offset) for name, own in events.items() for e in own)
        if seconds
        else 0
    )
    if late:
        notes.append(f"detections that reach beyond their recording's end, taken as they are: {late}")
    return events, [f"{path.name}: {note}" for note in notes]


def _unlike(store: ScoreStore, threshold: float | None) -> list[str]:
    """What to say of scores that a threshold does not part, or that the default one was not made for."""
    columns = [column for column in map(store.column, store.labels) if len(column)]
    low = min((float(column.min()) for column in columns), default=0.0)
    high = max((float(column.max()) for column in columns), default=1.0)
    run = f"scores run from {low:g} to {high:g}"
    if threshold is None and (low < 0 or high > 1):
        return [f"{run}, so are no probabilities, and events are those over {THRESHOLD}: give a --threshold"]
    if threshold is not None and not low <= threshold < high:
        return [f"{run}: the threshold {threshold:g} is under or over all of them, and parts no events"]
    return []


def _same(named: Mapping[str, Any], seconds: Mapping[str, float], path: Path, durations: Path) -> None:
    if unknown := sorted(set(named) - set(seconds)):
        raise OptionError(
            f"{path}: {unknown[0]!r} and {len(unknown) - 1} more recordings are not in {durations}; name the seconds "
            "of all that are scored"
        )


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
