"""What somebody gives to be scored: tables of events, of durations and of scores, checked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peaframe import formats
from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks.annotations import Annotations, read_durations, read_events
from peaframe.eval.benchmarks.audio_files import recording_id
from peaframe.eval.benchmarks.rows import read_rows
from peaframe.eval.collar_scores import events_at
from peaframe.eval.store import ScoreStore
from peaframe.eval.tables import read_table, table_paths
from peaframe.events import Event

__all__ = ["Scored", "durations_of", "events_of", "same_recordings", "scored_tables"]

THRESHOLD = 0.5
Events = dict[str, list[Event]]


@dataclass(frozen=True)
class Scored:
    """A folder of score tables beside the truth.

    Attributes:
        truth: True events by recording.
        seconds: Seconds of every recording.
        scores: Scores of every recording.
        found: Events over the threshold.
        threshold: Where events begin.
        mended: What was done to the true events, a sentence each.
        notes: What does not look right about the scores.
    """

    truth: Events
    seconds: dict[str, float]
    scores: ScoreStore
    found: Events
    threshold: float
    mended: list[str]
    notes: list[str]


def scored_tables(scores: Path, reference: Path, durations: Path, threshold: float | None = None) -> Scored:
    """Read score tables, true events and durations.

    Args:
        scores: The folder; a table for each recording of `durations`.
        reference: Table of true events.
        durations: Table of the recordings that are scored and their seconds.
        threshold: Where events begin; by default 0.5, and it is said if scores are no probabilities.

    Raises:
        FormatError: A table cannot be read; with file and line.
        OptionError: Recordings are in one of the three only, or labels do not fit.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"got the threshold {threshold}; expected a finite number")
    seconds = durations_of(durations)
    truth, mended = events_of(reference, seconds)
    same_recordings(truth, seconds, reference, durations)
    tables = _tables(scores)
    same_recordings(tables, seconds, scores, durations)
    if lacking := sorted(set(seconds) - set(tables)):
        raise OptionError(
            f"{durations}: {lacking[0]!r} and {len(lacking) - 1} more recordings have no table in {scores}; score all, "
            "or leave them out of the durations and the true events"
        )
    try:
        store = ScoreStore((name, read_table(path)) for name, path in tables.items())
    except OptionError as error:
        raise OptionError(f"{scores}: {error}") from error
    notes = _unlike(store, threshold)
    at = THRESHOLD if threshold is None else threshold
    return Scored(
        truth, seconds, store, {name: events_at(store[name], at) for name in store}, at, mended, notes
    )


def durations_of(path: Path) -> dict[str, float]:
    """Seconds by recording.

    Raises:
        FormatError: The table cannot be read, names no recording, or one twice; with file and line.
    """
    seconds = read_durations(path)
    if not seconds:
        raise FormatError(f"{path}: names no recording; expected a line for each: filename, duration")
    named: dict[str, str] = {}
    for where, row in read_rows(path, ("filename",)):
        if (first := named.setdefault(recording_id(row["filename"]), where)) != where:
            raise FormatError(f"{where}: got {row['filename']!r}, which {first} names too; name it once")
    return seconds


def same_recordings(
    named: Mapping[str, Any], seconds: Mapping[str, float], path: Path, durations: Path
) -> None:
    """Refuse recordings without a duration.

    Raises:
        OptionError: There are some.
    """
    if unknown := sorted(set(named) - set(seconds)):
        raise OptionError(
            f"{path}: {unknown[0]!r} and {len(unknown) - 1} more recordings are not in {durations}; name the seconds "
            "of all that are scored"
        )


def events_of(
    path: Path, seconds: Mapping[str, float] | None, detected: bool = False
) -> tuple[Events, list[str]]:
    """Events by recording, and what was mended; DCASE's table, or any other format that `peaframe.formats` reads.

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
