"""What a run says of one recording; tables, summary, report and sample clips are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peaframe.audio.recorded import Recorded
from peaframe.events import Event


@dataclass(frozen=True)
class Annotated:
    """One recording that was heard to its end.

    Attributes:
        name: Its path below the folder that all recordings of the run lie in, with `/`; as in the tables.
        path: Where it can be opened: an absolute path or a URL.
        seconds: How long it is, as it was heard.
        recorded: When it was made, if anything says so.
        events: What was found in it, sorted by onset.
    """

    name: str
    path: str
    seconds: float
    recorded: Recorded | None
    events: Sequence[Event]
