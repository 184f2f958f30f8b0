"""What the report shows of a run, counted in one pass: events by day and hour, and each query's surest ones.

An event counts in every hour that it lasts into, once, by the clock of the place: at the end of summer time the hour
that comes twice is one cell. Where no recording says when it was made, rows are recordings in the order of their
names, and the columns are 24 equal parts of each from its begin to its end.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.sampling import Sample
from peaframe.audio.recorded import Recorded

__all__ = ["Collected", "Grid", "collect"]

COLUMNS = 24
UNITS = ("day", "week", "month", "year", "decade")
_MOST_ROWS_KEPT = 400
_MOST_GROUPS = 32

Counts = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Counts of events by row and column.

    Attributes:
        timed: Whether rows are days (or longer) and columns hours; else recordings and parts of them.
        unit: What a row is: one of `UNITS`, or `recording`.
        each: How many recordings a row holds at most, where rows are recordings; else 1.
        rows: Each row's name.
        heard: (rows, 24) seconds of recording in each cell, float64.
        counts: By query, (rows, 24) events in each cell, int64.
        totals: By query, (rows,) events in each row, int64: one that lasts into several cells of a row is one.
    """

    timed: bool
    unit: str
    each: int
    rows: tuple[str, ...]
    heard: Seconds
    counts: Mapping[str, Counts]
    totals: Mapping[str, Counts]


@dataclass(frozen=True)
class Collected:
    """What the report shows of a run besides the summaries.

    Attributes:
        recordings: How many.
        seconds: How long they are together.
        timeless: How many of them do not say when they were made.
        zoneless: How many say it without a time zone.
        first: When the first one began, by the clock of its place; None where none says it.
        last: When the last one ended.
        grid: Events by day and hour.
        top: By query, its surest events, the surest first.
    """

    recordings: int
    seconds: float
    timeless: int
    zoneless: int
    first: dt.datetime | None
    last: dt.datetime | None
    grid: Grid
    top: Mapping[str, Sequence[Sample]]


def collect(
    annotated: Callable[[], Iterable[Annotated]], queries: Sequence[str], most_top: int, most_rows: int
) -> Collected:
    """Count a run in one pass; memory does not grow with recordings or events.

    Args:
        annotated: Each call is one pass over the recordings.
        queries: The queries to count; events of other labels are passed over.
        most_top: How many of each query's surest events to keep.
        most_rows: How many rows the grid may have, at least 30; longer units are taken until they do.
    """
    days, parts = _Days(queries), _Parts(queries)
    tops: dict[str, list[tuple[float, int, Sample]]] = {query: [] for query in queries}
    recordings = timeless = zoneless = number = 0
    seconds = 0.0
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    for one in annotated():
        recordings += 1
        seconds += one.seconds
        parts.begin(one.name, one.seconds)
        if one.recorded is None:
            timeless += 1
        else:
            zoneless += not one.recorded.zone_known
            begun, ended = _face(one.recorded.at(0)), _face(one.recorded.at(one.seconds))
            first, last = min(first or begun, begun), max(last or ended, ended)
            days.hear(one.recorded, one.seconds)
        for event in one.events:
            if event.label not in tops:
                continue
            parts.count(event.label, event.onset, event.offset)
            if one.recorded is not None:
                days.count(event.label, one.recorded, event.onset, event.offset)
            heap, number = tops[event.label], number - 1
            score = -np.inf if event.score is None else event.score
            if len(heap) < most_top or (heap and score > heap[0][0]):  # of equal ones the first stays
                when = one.recorded.at(event.onset) if one.recorded else None
                time = when.isoformat(sep=" ", timespec="seconds") if when else ""
                chosen = Sample(event.label, one.name, one.path, one.seconds, time, event)
                (heapq.heappush if len(heap) < most_top else heapq.heapreplace)(heap, (score, number, chosen))
    timed = timeless < recordings
    grid = days.grid(most_rows) if timed else parts.grid()
    top = {
        query: [entry[-1] for entry in sorted(heap, key=lambda entry: (-entry[0], -entry[1]))]
        for query, heap in tops.items()
    }
    return Collected(recordings, seconds, timeless, zoneless, first, last, grid, top)


class _Days:
    """Events by day and hour; when days become too many, by week, month and so on."""

    def __init__(self, queries: Sequence[str]) -> None:
        self._at = {query: place for place, query in enumerate(queries)}
        self._unit = 0
        self._heard: dict[dt.date, Seconds] = {}
        self._counts: dict[dt.date, Counts] = {}  # (queries, 25): the hours, and the row's own count

    def hear(self, recorded: Recorded, seconds: float) -> None:
        for start, end, day, hour in _hours(recorded, 0.0, seconds):
            key = _row(day, UNITS[self._unit])
            if key not in self._heard:
                self._heard[key] = np.zeros(COLUMNS)
            self._heard[key][hour] += (end - start) / recorded.expansion
        if len(self._heard) > _MOST_ROWS_KEPT:
            self._coarsen()

    def count(self, query: str, recorded: Recorded, onset: float, offset: float) -> None:
        unit, place = UNITS[self._unit], self._at[query]
        cells = {(_row(day, unit), hour) for _, _, day, hour in _hours(recorded, onset, offset)}
        rows = {(key, COLUMNS) for key, _ in cells}
        for key, hour in cells | rows:
            if key not in self._counts:
                self._counts[key] = np.zeros((len(self._at), COLUMNS + 1), dtype=np.int64)
            self._counts[key][place, hour] += 1

    def grid(self, most_rows: int) -> Grid:
        while len(self._heard.keys() | self._counts.keys()) > most_rows and self._unit < len(UNITS) - 1:
            self._coarsen()
        keys = sorted(self._heard.keys() | self._counts.keys())
        unit = UNITS[self._unit]
        none, empty = np.zeros(COLUMNS), np.zeros((len(self._at), COLUMNS + 1), dtype=np.int64)
        heard = np.array([self._heard.get(key, none) for key in keys]).reshape(len(keys), COLUMNS)
        every = np.array([self._counts.get(key, empty) for key in keys]).reshape(
            len(keys), len(self._at), COLUMNS + 1
        )
        counts = {query: every[:, place, :COLUMNS] for query, place in self._at.items()}
        totals = {query: every[:, place, COLUMNS] for query, place in self._at.items()}
        return Grid(True, unit, 1, tuple(_row_name(key, unit) for key in keys), heard, counts, totals)

    def _coarsen(self) -> None:
        self._unit = min(self._unit + 1, len(UNITS) - 1)
        unit = UNITS[self._unit]
        heard: dict[dt.date, Seconds] = {}
        for day, seconds in self._heard.items():
            heard[_row(day, unit)] = heard.get(_row(day, unit), 0) + seconds
        counts: dict[dt.date, Counts] = {}
        for day, events in self._counts.items():
            counts[_row(day, unit)] = counts.get(_row(day, unit), 0) + events
        self._heard, self._counts = heard, counts


class _Parts:
    """Events by recording and part of it; when recordings become too many, two neighbours become one row."""

    def __init__(self, queries: Sequence[str]) -> None:
        self._at = {query: place for place, query in enumerate(queries)}
        self._each = 1
        self._recordings = 0
        self._names: list[str] = []
        self._seconds = 0.0
        self._heard = np.zeros((_MOST_GROUPS, COLUMNS))
        self._counts = np.zeros((_MOST_GROUPS, len(queries), COLUMNS + 1), dtype=np.int64)

    def begin(self, name: str, seconds: float) -> None:
        if self._recordings == self._each * _MOST_GROUPS:
            self._each *= 2
            self._names = self._names[::2]
            for array in (self._heard, self._counts):
                array[: _MOST_GROUPS // 2] = array[0::2] + array[1::2]
                array[_MOST_GROUPS // 2 :] = 0
        if self._recordings % self._each == 0:
            self._names.append(name)
        self._recordings += 1
        self._seconds = seconds
        self._heard[len(self._names) - 1] += seconds / COLUMNS

    def count(self, query: str, onset: float, offset: float) -> None:
        row = self._counts[len(self._names) - 1, self._at[query]]
        share = COLUMNS / self._seconds if self._seconds > 0 else 0.0
        first = min(COLUMNS - 1, int(onset * share + 1e-9))
        row[first : min(COLUMNS, max(first + 1, int(np.ceil(offset * share - 1e-9))))] += 1
        row[COLUMNS] += 1

    def grid(self) -> Grid:
        rows = len(self._names)
        counts = {query: self._counts[:rows, place, :COLUMNS] for query, place in self._at.items()}
        totals = {query: self._counts[:rows, place, COLUMNS] for query, place in self._at.items()}
        names = self._names if self._each == 1 else [f"{name} …" for name in self._names]
        return Grid(False, "recording", self._each, tuple(names), self._heard[:rows], counts, totals)


def _hours(recorded: Recorded, onset: float, offset: float) -> Iterator[tuple[float, float, dt.date, int]]:
    """The clock's hours from one moment of a recording to another: start, end (seconds in it), day, hour."""
    start = onset
    while start < offset:
        when = recorded.at(start)
        gone = when.minute * 60 + when.second + when.microsecond / 1e6
        end = min(offset, start + max(3600 - gone, 0.001) * recorded.expansion)
        yield start, end, when.date(), when.hour
        start = end


def _row(day: dt.date, unit: str) -> dt.date:
    """The first day of the row that a day lies in."""
    if unit == "day":
        return day
    if unit == "week":
        return dt.date.fromordinal(max(1, day.toordinal() - day.weekday()))
    if unit == "month":
        return day.replace(day=1)
    year = day.year if unit == "year" else max(1, day.year // 10 * 10)
    return dt.date(year, 1, 1)


def _row_name(day: dt.date, unit: str) -> str:
    text = day.isoformat()
    return {"month": text[:7], "year": text[:4], "decade": f"{text[:4]}s", "week": f"{text} +6"}.get(
        unit, text
    )


def _face(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=None)
