"""What the journal holds of a recording, and of the parts it is heard in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = "id, name, path, size, modified, head, seconds, state, embedded, retry, recorded"
PLANNED, DONE, FAILED = "planned", "done", "failed"


@dataclass(frozen=True)
class File:
    """A recording of the run.

    Attributes:
        id: Its number in the journal.
        name: Its path below the run's base folder.
        path: Where it can be opened.
        size: Bytes, None where it could not be looked at.
        modified: Its modification time in nanoseconds.
        head: A hash of its first bytes.
        seconds: Its length; as it claims until it is done, then as heard.
        state: `planned`, `done` or `failed`.
        embedded: Its embeddings are kept.
        retry: It failed for a reason that may have passed.
        recorded: When it was made, as JSON.
    """

    id: int
    name: str
    path: str
    size: int | None
    modified: int | None
    head: str | None
    seconds: float
    state: str
    embedded: bool
    retry: bool
    recorded: str | None


@dataclass(frozen=True)
class Part:
    """Frames [first, stop) of a recording, to its end where stop is None; the first and last are windows' bounds."""

    file: int
    first: int = 0
    stop: int | None = None

    @property
    def whole(self) -> bool:
        """Whether this is all of the recording."""
        return self.first == 0 and self.stop is None


def file_of(row: Sequence[Any]) -> File:
    """A recording from its `COLUMNS`."""
    id, name, path, size, modified, head, seconds, state, embedded, retry, recorded = row
    return File(
        *(id, name, path, size, modified, head, seconds or 0.0, state, bool(embedded), bool(retry), recorded)
    )
