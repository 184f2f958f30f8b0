"""Files of many recordings that are written as they grow, so that memory does not grow with the count of events."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from peaframe.errors import FormatError
from peaframe.events import Event
from peaframe.formats import moments
from peaframe.formats.pieces import Pieces, Recording, about, encoded


class Sink(Protocol):
    """Where recordings go, one after the other; one that is refused leaves no trace."""

    def add(self, recording: Recording) -> None:
        """Write what the recording adds.

        Raises:
            FormatError: the format cannot hold it.
        """


class Writer:
    """A file that is being written: give it recording after recording."""

    def __init__(self, sink: Sink, meta: Mapping[str, Any]) -> None:
        self._sink = sink
        self._meta = meta
        self._names: set[str] = set()
        self._open = True

    def add(
        self,
        filename: str,
        events: Sequence[Event],
        duration: float | None = None,
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a recording.

        Args:
            filename: Its name, each once.
            events: What was found in it; may be empty.
            duration: Its length in seconds, if not in `meta["durations"]`.
            recorded: When it was made, as `moments.describe` says it, if not in `meta["recorded"]`. Whether a table has
                columns of times is settled before its first row: `meta` must have `recorded`, which may be empty.

        Raises:
            FormatError: the format cannot hold it, it was there before, or the file is closed. The file is as it was
                before, so that others may follow.
        """
        if not self._open:
            raise FormatError(f"got {filename!r} after the file was closed; add it inside the `with` block")
        if filename in self._names:
            raise FormatError(f"got the recording {filename!r} twice; add each once, with all its events")
        if recorded is not None and not moments.timed(self._meta):
            raise FormatError(
                f'got the time when {filename!r} was made, but no meta["recorded"]; open the file with '
                'meta={"recorded": {}}, which gives it columns of times'
            )
        length, said = about(self._meta, filename)
        length, said = (length if duration is None else duration), (said if recorded is None else recorded)
        self._sink.add(Recording(filename, events, length, dict(said) if isinstance(said, Mapping) else said))
        self._names.add(filename)

    def close(self) -> None:
        """Take no more."""
        self._open = False


class _Text:
    def __init__(self, pieces: Pieces, file: IO[bytes]) -> None:
        self._pieces = pieces
        self._file = file

    def add(self, recording: Recording) -> None:
        self._file.write(encoded(self._pieces.rows(recording)))
        self._pieces.passed(recording)


@contextmanager
def text_sink(path: Path, pieces: Pieces) -> Iterator[Sink]:
    """A file of text; whole when the block ends well.

    Raises:
        FormatError: it cannot be written.
    """
    with path.open("wb") as file:
        if not pieces.spooled:
            file.write(encoded(pieces.head()))
            yield _Text(pieces, file)
            file.write(encoded(pieces.tail()))
            return
        pieces.head()  # what it cannot hold is refused before hours of work, not after
        with tempfile.TemporaryFile(dir=path.parent) as rows:
            yield _Text(pieces, rows)
            rows.seek(0)
            file.write(encoded(pieces.head()))
            for line in rows:
                file.write(encoded(pieces.final(line.decode("utf-8"))))
            file.write(encoded(pieces.tail()))
