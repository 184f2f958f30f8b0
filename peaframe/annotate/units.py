"""Units of work: which stretches of which recordings are heard together.

A unit is fixed when the run is planned and is all that its results depend on: its windows fill the same batches
wherever and whenever it is heard. So one process, many, a cluster, and a run that was killed and went on, give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from peaframe.annotate.records import File, Part
from peaframe.clock import FRAME_RATE, frame_count, samples_of_seconds

UNIT_WINDOWS = (
    40  # 320 s of 10 s windows that share 2 s: seconds of work for a small model, minutes for a large one
)
UNIT_PARTS = 256


@dataclass(frozen=True)
class Windows:
    """How recordings are cut for the model.

    Attributes:
        frames: of a window.
        overlap: how many of them neighbours share.
        lead: frames at both sides that the model's stream needs around what is wanted.
    """

    frames: int
    overlap: int
    lead: int

    @property
    def hop(self) -> int:
        """Frames from one window to the next."""
        return self.frames - self.overlap

    def around(self, part: Part) -> tuple[int, int | None]:
        """The first frame of the first window that reaches into a part, and the end of the last one that does."""
        begin = max(0, -(-(part.first - self.frames + 1) // self.hop) * self.hop)
        if part.stop is None:
            return begin, None
        return begin, (part.stop - 1) // self.hop * self.hop + self.frames


def split(file: File, windows: Windows) -> list[Part]:
    """Cut a recording into parts of `UNIT_WINDOWS` windows; the last one may be longer.

    Behind every cut lie two windows at least, so that the recording's last window, which begins off the grid, touches
    the last part alone, even if the recording is a little shorter than it says.
    """
    frames = frame_count(samples_of_seconds(file.seconds))
    step = UNIT_WINDOWS * windows.hop
    last = frames - 2 * windows.frames - windows.lead
    bounds = [0, *range(step, last, step)]
    return [Part(file.id, first, stop) for first, stop in zip(bounds, [*bounds[1:], None], strict=True)]


def pack(files: Iterable[File], windows: Windows) -> Iterator[Sequence[Part]]:
    """Parts of recordings, in order, as units: short recordings together, long ones in several."""
    step = UNIT_WINDOWS * windows.hop
    unit: list[Part] = []
    held = 0
    for file in files:
        for part in split(file, windows):
            end = frame_count(samples_of_seconds(file.seconds)) if part.stop is None else part.stop
            frames = max(FRAME_RATE, end - part.first)  # the shortest recordings cost something, too
            if unit and (held + frames > step or len(unit) >= UNIT_PARTS):
                yield unit
                unit, held = [], 0
            unit.append(part)
            held += frames
    if unit:
        yield unit
