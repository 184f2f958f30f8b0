"""Annotations as they come, row by row, and the recordings that are made of them: what was mended is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from peaframe import audio
from peaframe.errors import AudioError, FormatError
from peaframe.eval.benchmarks.audio_files import AudioFiles, recording_id
from peaframe.eval.benchmarks.definition import Recordings
from peaframe.eval.benchmarks.mending import Span, Tally
from peaframe.eval.benchmarks.rows import read_rows, seconds_of
from peaframe.events import Event
from peaframe.formats.delimited import COLUMNS as DCASE_COLUMNS

__all__ = ["OVERLAPPING", "Annotations", "read_durations", "read_events"]

OVERLAPPING = "true events merged into another of their label that they overlap or touch"


class Annotations:
    """Recordings and their events, as metadata names them.

    Attributes:
        labels: The labels that are allowed; None allows all.
        heard: Each label that came, with the place ("file:line") where it came first.
    """

    def __init__(self, labels: Iterable[str] | None = None) -> None:
        """Start with nothing; `labels` are the only ones allowed, None allows all."""
        self.labels = None if labels is None else frozenset(labels)
        self.heard: dict[str, str] = {}
        self._events: dict[str, list[Span]] = {}

    @property
    def recordings(self) -> list[str]:
        """All ids that were named, in the order they came."""
        return list(self._events)

    def name(self, recording: str) -> None:
        """Say that there is such a recording, with or without events."""
        self._events.setdefault(recording, [])

    def add(self, recording: str, onset: str, offset: str, label: str, where: str) -> None:
        """Take an event from its cells; raises what `check` raises."""
        event = self.check(onset, offset, label, where)
        self.heard.setdefault(label, where)
        self._events.setdefault(recording, []).append(event)

    def check(self, onset: str, offset: str, label: str, where: str) -> Span:
        """Onset, offset and label of an event from its cells.

        Raises:
            FormatError: A time is no number, NaN, infinite or negative; the event ends before it begins; its
                label is blank or unknown. The message begins with `where`.
        """
        start, end = seconds_of(onset, "onset", where), seconds_of(offset, "offset", where)
        if end < start:
            raise FormatError(f"{where}: got an event that ends at {offset} s, before its onset at {onset} s")
        if not label.strip():
            raise FormatError(f"{where}: got a blank label, expected what is heard")
        if self.labels is not None and label not in self.labels:
            raise FormatError(
                f"{where}: got the label {label!r}, expected one of {', '.join(sorted(self.labels))}"
            )
        return start, end, label

    def relabel(self, names: Mapping[str, str]) -> tuple[int, int]:
        """Give labels other names and leave out events of labels without one.

        Returns:
            How many events were left out, and of how many labels.
        """
        out = [event for events in self._events.values() for event in events if event[2] not in names]
        for recording, events in self._events.items():
            self._events[recording] = [(a, b, names[label]) for a, b, label in events if label in names]
        return len(out), len({label for *_, label in out})

    def mended(self, ends: Mapping[str, float], what: str) -> tuple[dict[str, list[Event]], list[str]]:
        """The events of every recording that was named, and what was done to them.

        Args:
            ends: Seconds by id, where events end at the latest; a recording without has no end.
            what: How to call the events in a note.
        """
        tally = Tally(None, what)
        events = {name: tally.mend(rows, ends.get(name, math.inf)) for name, rows in self._events.items()}
        return events, tally.notes()

    def recordings_of(
        self,
        files: AudioFiles,
        folder: Path,
        *,
        durations: Mapping[str, float] | None = None,
        expected: int | None = None,
        merge: str | None = None,
        clip: float = math.inf,
        longest: float = math.inf,
        notes: Iterable[str] = (),
        framed: Path | None = None,
    ) -> Recordings:
        """Check what was named against the files, and mend the events.

        Args:
            files: The audio that is there.
            folder: Where it was looked for.
            durations: Seconds by id; recordings without one are asked (`peaframe.audio.probe`).
            expected: How many recordings the whole benchmark has.
            merge: How to call it in a note when events of one label that overlap or touch become one; None
                leaves them as they are.
            clip: No event reaches beyond this second, however long the file is.
            longest: A file longer than this is not the clip that was annotated, and counts as missing.
            notes: What the loader has to say.
            framed: Handed on.

        Raises:
            FormatError: None of the recordings is there.
        """
        said = [*notes]
        if expected is not None and len(self._events) != expected:
            said.append(
                f"recordings in the metadata: {len(self._events)}; the whole benchmark has {expected}"
            )
        there, missing = files.take(self._events, str(folder))
        said += files.notes
        known = {} if durations is None else {name: durations[name] for name in there if name in durations}
        unreadable, too_long = [], []
        for name, path in there.items():
            if name not in known:
                try:
                    known[name] = audio.probe(path).duration
                except AudioError:
                    unreadable.append(name)
            if known.get(name, 0.0) > longest:
                too_long.append(name)
        out = {*unreadable, *too_long}
        if unreadable:
            said.append(f"files that cannot be read and count as missing: {_some(unreadable)}")
        if too_long:
            said.append(
                f"files that last over {longest:g} s, so are not cut to what was annotated, and count as "
                f"missing: {_some(too_long)}"
            )
        there = {name: path for name, path in there.items() if name not in out}
        if not there:
            raise FormatError(f"{folder}: none of its {len(out)} files can be used; {said[-1]}")
        tally = Tally(merge)
        truth = {name: tally.mend(self._events[name], min(known[name], clip)) for name in there}
        return Recordings(
            audio=there,
            durations={name: known[name] for name in there},
            truth=truth,
            missing=tuple(sorted((*missing, *out))),
            notes=(*said, *tally.notes()),
            framed=framed,
        )


def _some(names: Sequence[str]) -> str:
    """How many, and the first few of them."""
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def read_durations(path: Path | None) -> dict[str, float]:
    """Seconds by recording id from a table `filename duration`; nothing where there is no table.

    Raises:
        FormatError: A duration is not a positive number; with file and line.
    """
    found: dict[str, float] = {}
    if path is not None:
        for where, row in read_rows(path, ("filename", "duration")):
            seconds = seconds_of(row["duration"], "duration", where)
            if not seconds:
                raise FormatError(f"{where}: got duration {row['duration']!r}, expected more than 0 s")
            found[recording_id(row["filename"])] = seconds
    return found


def read_events(path: Path, annotations: Annotations, columns: Sequence[str] = DCASE_COLUMNS) -> None:
    """Add a table of events; a line with a file name and nothing else is a recording without events.

    Args:
        path: A table with a header, in DCASE's form unless `columns` name the same four otherwise.
        annotations: Where the events go, by recording id.
        columns: The file's name, onset, offset and label, as the header calls them.

    Raises:
        FormatError: A line is no event, or two file names differ in their audio suffix only; with file and line.
    """
    named: dict[str, str] = {}
    for where, row in read_rows(path, columns):
        filename, onset, offset, label = (row[column] for column in columns)
        if not filename:
            raise FormatError(f"{where}: the file name is blank; name the recording")
        name = recording_id(filename)
        if named.setdefault(name, filename) != filename:
            raise FormatError(
                f"{where}: got {filename!r} beside {named[name]!r}; expected one file for a recording"
            )
        if onset or offset or label:
            annotations.add(name, onset, offset, label, where)
        else:
            annotations.name(name)
