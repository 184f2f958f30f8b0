"""True events as metadata have them made into events that can be scored, and a count of what that took."""

from __future__ import annotations

from typing import TypeAlias

from peaframe.events import Event, merge_events

__all__ = ["Span", "Tally"]

Span: TypeAlias = tuple[float, float, str]
"""Onset, offset (not before it) and label, as a row of metadata says."""


class Tally:
    """Mends events and counts what it did."""

    def __init__(self, merge: str | None, what: str = "true events") -> None:
        """Start at nothing.

        Args:
            merge: What merging is called in a note; None leaves overlaps as they are.
            what: What the events are called in a note.
        """
        self._merge, self._what = merge, what
        self._doubled = self._empty = self._behind = self._cut = self._merged = 0

    def mend(self, rows: list[Span], end: float) -> list[Event]:
        """Events without doubles, within [0, end], that last at all; merged if asked for."""
        events = []
        unique = dict.fromkeys(rows)
        self._doubled += len(rows) - len(unique)
        for onset, offset, label in unique:
            if onset == offset:
                self._empty += 1
            elif onset >= end:
                self._behind += 1
            else:
                self._cut += offset > end
                events.append(Event(onset, min(offset, end), label))
        if self._merge is None:
            return sorted(events)
        merged = merge_events(events)
        self._merged += len(events) - len(merged)
        return merged

    def notes(self) -> list[str]:
        """One sentence for each thing that happened."""
        told = (
            ("rows dropped that say the same as another one", self._doubled),
            (f"{self._what} dropped that last no time", self._empty),
            (f"{self._what} dropped that begin at or after their clip's end", self._behind),
            (f"{self._what} cut that reach beyond their clip's end", self._cut),
            (self._merge, self._merged),
        )
        return [f"{what}: {count}" for what, count in told if count]
