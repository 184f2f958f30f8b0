"""Long recordings in overlapping windows, and their scores as one seamless curve.

Every window has the length the model was trained on, so a frame means the same wherever it stands; where two windows
overlap, their scores are cross-faded. Only a few windows are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import frame_count

WINDOW_FRAMES = 250
OVERLAP_FRAMES = 50

Rows = NDArray[np.float32]


def windows(
    blocks: Iterable[Rows], window_frames: int = WINDOW_FRAMES, overlap_frames: int = OVERLAP_FRAMES
) -> Iterator[tuple[int, Rows]]:
    """Cut a stream of frames into windows.

    Args:
        blocks: consecutive stretches of rows (frames, channels), of any lengths.
        window_frames: length of a window.
        overlap_frames: how many frames neighbours share at least; less than `window_frames`.

    Yields:
        The window's first frame and its rows. All windows are whole, the last one begins so early that it is, too,
        unless the recording is shorter than one.
    """
    hop = window_frames - overlap_frames
    kept: Rows | None = None
    first = 0  # frame number of kept[0]
    following = 0  # frame number where the next window begins
    for block in blocks:
        kept = block if kept is None else np.concatenate((kept, block))
        while first + len(kept) >= following + window_frames:
            yield following, kept[following - first : following - first + window_frames]
            following += hop
            drop = max(0, following - hop - first)
            kept, first = kept[drop:], first + drop
    end = first + (0 if kept is None else len(kept))
    heard = following - hop + window_frames if following else 0
    if kept is not None and end > heard:
        begin = max(0, end - window_frames)
        yield begin, kept[begin - first :]


class Stitcher:
    """Puts the scores of windows together; a frame is done once no later window can reach it."""

    def __init__(
        self,
        columns: int,
        overlap_frames: int = OVERLAP_FRAMES,
        dtype: type[np.floating[Any]] = np.float32,
        file: IO[bytes] | None = None,
    ) -> None:
        """Prepare.

        Args:
            columns: of the windows to come.
            overlap_frames: how many frames the windows share at least.
            dtype: type in which what is done is kept.
            file: keeps what is done, opened for reading and writing; None keeps it in memory.
        """
        self._file = file
        self._overlap = overlap_frames
        self._sum = np.zeros((0, columns), dtype=np.float32)
        self._weight = np.zeros((0, 1), dtype=np.float32)
        self._first = 0  # frame number of the first row
        # What is done lies in one array: many small ones would pin the heap, and memory would grow with length.
        self._done: NDArray[np.floating[Any]] = np.zeros((0 if file else 1 << 14, columns), dtype=dtype)

    def add(self, first: int, values: NDArray[np.float32]) -> None:
        """Add a window.

        Args:
            first: its first frame; never less than that of the window before.
            values: (frames, columns).
        """
        ready = max(0, min(first - self._first, len(self._sum)))
        if ready:
            self._finish(ready)
        frames = len(values)
        ramp = np.arange(1, frames + 1, dtype=np.float32)
        weight = np.minimum(np.minimum(ramp, ramp[::-1]), self._overlap + 1)[:, None] / (self._overlap + 1)
        longer = first + frames - self._first - len(self._sum)
        if longer > 0:
            self._sum = np.pad(self._sum, ((0, longer), (0, 0)))
            self._weight = np.pad(self._weight, ((0, longer), (0, 0)))
        rows = slice(first - self._first, first - self._first + frames)
        self._sum[rows] += weight * values
        self._weight[rows] += weight

    def result(self) -> NDArray[Any]:
        """All frames, (frames, columns); read from the file, if there is one, as they are looked at."""
        self._finish(len(self._sum))
        if self._file is None or not self._first:
            return self._done[: self._first]
        self._file.flush()
        shape = (self._first, self._done.shape[1])
        return np.memmap(self._file, self._done.dtype, mode="r", shape=shape)

    def _finish(self, rows: int) -> None:
        """Move the first rows to those that are done."""
        end = self._first + rows
        values = self._sum[:rows] / np.maximum(self._weight[:rows], 1e-12)
        if self._file is not None:
            self._file.write(values.astype(self._done.dtype).tobytes())
        else:
            if end > len(self._done):
                self._done = np.pad(self._done, ((0, end), (0, 0)))
            self._done[self._first : end] = values
        self._sum, self._weight, self._first = self._sum[rows:], self._weight[rows:], end


def window_count(
    samples: int, window_frames: int = WINDOW_FRAMES, overlap_frames: int = OVERLAP_FRAMES
) -> int:
    """How many windows `windows` cuts from a recording of `samples`; for progress bars."""
    frames = frame_count(samples)
    hop = window_frames - overlap_frames
    return max(1, 1 + -(-(frames - window_frames) // hop)) if samples else 0
