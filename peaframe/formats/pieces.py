"""Text files of many recordings, piece by piece: a head, what each recording adds, a tail.

A format of text is one kind of `Pieces`. `joined` makes the whole of it at once, `streams` writes it as it grows; so
both make the same bytes.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import moments
from peaframe.formats.text import EventsByFile

if TYPE_CHECKING:
    from peaframe.audio.recorded import Recorded

ABOUT = ("durations", "recorded")
_LONGEST = 1e12  # seconds


@dataclass(frozen=True)
class Recording:
    """One recording, as a file of events gets it.

    Attributes:
        name: As the user gave it.
        events: In any order.
        duration: What `meta["durations"]` says of it, whatever that is.
        recorded: What `meta["recorded"]` says of it.
    """

    name: str
    events: Sequence[Event]
    duration: Any = None
    recorded: Any = None

    def seconds(self, most: float = _LONGEST) -> float | None:
        """Its length in seconds, where that is a number greater than 0 and not greater than `most`."""
        known = isinstance(self.duration, (int, float)) and not isinstance(self.duration, bool)
        return self.duration if known and 0 < self.duration <= most else None

    @cached_property
    def begun(self) -> Recorded | None:
        """When it was made, where that is known.

        Raises:
            FormatError: `recorded` is no such thing.
        """
        return moments.begun(self.recorded, self.name)


class Pieces(ABC):
    """A file of text in the making.

    `rows` changes nothing here, so that a recording that is refused leaves no trace; `passed` is told of the others.

    Attributes:
        meta: How the events were made.
        count: How many recordings it has by now.
        spooled: Its head is made, and every line of rows goes through `final`, once all recordings are there.
    """

    spooled = False

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.meta = meta
        self.count = 0

    def head(self) -> str:
        """What comes before the first recording.

        Raises:
            FormatError: `meta` holds what the format cannot.
        """
        return ""

    @abstractmethod
    def rows(self, recording: Recording) -> str:
        """What a recording adds.

        Raises:
            FormatError: the format cannot hold it.
        """

    def passed(self, recording: Recording) -> None:
        """Take note of a recording whose rows were written."""
        self.count += 1

    def tail(self) -> str:
        """What comes after the last recording."""
        return ""

    def final(self, line: str) -> str:
        """A line of rows, with its line feed, as it stays."""
        return line


def of_all(events_by_file: EventsByFile, meta: Mapping[str, Any]) -> Iterator[Recording]:
    """The recordings, with what `meta` says of each."""
    for name, events in events_by_file.items():
        yield Recording(name, events, *about(meta, name))


def about(meta: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """What `meta` says of one recording: its length, and when it was made."""
    length, recorded = (
        given.get(name) if isinstance(given := meta.get(key), Mapping) else None for key in ABOUT
    )
    return length, recorded


def general(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What `meta` says of all recordings alike."""
    return {key: said for key, said in meta.items() if key not in ABOUT or not isinstance(said, Mapping)}


def joined(pieces: Pieces, events_by_file: EventsByFile) -> str:
    """The whole text.

    Raises:
        FormatError: the format cannot hold something.
    """
    rows = []
    for recording in of_all(events_by_file, pieces.meta):
        rows.append(pieces.rows(recording))
        pieces.passed(recording)
    text = "".join(rows)
    if pieces.spooled:
        text = "".join(map(pieces.final, re.findall(r"[^\n]*\n|[^\n]+", text)))
    return pieces.head() + text + pieces.tail()


def encoded(text: str) -> bytes:
    """Text as UTF-8.

    Raises:
        FormatError: it is not valid Unicode.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        broken = text[max(0, error.start - 20) : error.end]
        raise FormatError(f"{broken!r} is not valid Unicode; rename the label or file") from error
