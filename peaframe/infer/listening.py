"""Recordings through the model: decoded ahead in a thread, cut into windows, several in a batch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peaframe.clock import HOP_SAMPLES
from peaframe.errors import AudioError
from peaframe.infer.ahead import ahead
from peaframe.infer.windows import Stitcher, windows
from peaframe.models.frame import FrameModel

BATCH_WINDOWS = 4
Samples = NDArray[np.float32]
Use = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Stretch:
    """A recording, or a part of it, to be heard.

    Attributes:
        blocks: its samples at 48 kHz, block by block, decoded as they are asked for; they begin `lead` frames early.
        lead: frames at the beginning that only the model's stream hears.
        frames: how many frames are wanted behind those; None for all there are.
    """

    blocks: Iterable[Samples]
    lead: int = 0
    frames: int | None = None


@dataclass
class Spent:
    """Where the time went, in seconds.

    Attributes:
        decoding: In the thread that decodes, beside the model.
        waiting: The model had nothing to do because the next block was not decoded yet.
        hearing: In the model.
    """

    decoding: float = 0.0
    waiting: float = 0.0
    hearing: float = 0.0


@dataclass(frozen=True)
class Heard:
    """What became of one stretch.

    Attributes:
        index: Which one, counted from 0.
        samples: How many were heard at 48 kHz, without the lead.
        values: Rows of what `use` made of its frames, (frames, columns); without meaning after an error.
        error: Why it could not be heard to its end.
    """

    index: int
    samples: int
    values: NDArray[Any]
    error: AudioError | None


@dataclass
class Listener:
    """How stretches are heard.

    Attributes:
        model: on its device, ready.
        window_frames: frames of a window.
        overlap_frames: how many neighbouring windows share at least.
        spent: where the time went so far.
    """

    model: FrameModel
    window_frames: int
    overlap_frames: int
    spent: Spent = field(default_factory=Spent)

    def hear(
        self,
        stretches: Iterable[Stretch],
        use: Use,
        stitcher: Callable[[], Stitcher],
        heard: Callable[[int], object] = lambda windows: None,
    ) -> Iterator[Heard]:
        """Hear stretches one after the other; the windows of several share a batch.

        Args:
            stretches: in order; none is opened long before it is heard.
            use: makes (batch, frames, columns) of embeddings (batch, frames, dim).
            stitcher: makes a new stitcher for those columns.
            heard: is told how many windows a batch had.

        Yields:
            One for each stretch, in order.
        """
        stitchers: dict[int, Stitcher] = {}
        batch: list[tuple[int, int, Samples]] = []
        ended: list[tuple[int, int, AudioError | None]] = []

        def flush() -> Iterator[Heard]:
            began = time.perf_counter()
            if batch:
                values = self._run([rows for _, _, rows in batch], use)
                for (index, first, _), part in zip(batch, values, strict=True):
                    stitchers[index].add(first, part)
                heard(len(batch))
                batch.clear()
            self.spent.hearing += time.perf_counter() - began
            for index, samples, error in ended:
                yield Heard(index, samples, stitchers.pop(index).result(), error)
            ended.clear()

        for index, group in itertools.groupby(ahead(self._decoded(stretches)), lambda item: item[0]):
            stitchers[index] = stitcher()
            reader = _Reader(group, self.model, self.spent)
            for first, rows in windows(reader.rows(), self.window_frames, self.overlap_frames):
                batch.append((index, first, rows))
                longest = max(len(rows) for _, _, rows in batch)
                if len(batch) * longest >= BATCH_WINDOWS * self.window_frames:
                    yield from flush()
            ended.append((index, reader.samples, reader.error))
            if not batch:
                yield from flush()
        yield from flush()

    def _decoded(self, stretches: Iterable[Stretch]) -> Iterator[tuple[int, Any]]:
        """Each stretch, its blocks, and an error that ended them; with its number."""
        for index, stretch in enumerate(stretches):
            yield index, stretch
            blocks = iter(stretch.blocks)
            while True:
                began = time.perf_counter()
                try:
                    block: Samples | AudioError | None = next(blocks, None)
                except AudioError as error:
                    block = error
                self.spent.decoding += time.perf_counter() - began
                if block is None:
                    break
                yield index, block
                if isinstance(block, AudioError):
                    break

    @torch.inference_mode()
    def _run(self, clips: Sequence[Samples], use: Use) -> list[NDArray[np.float32]]:
        """What `use` makes of the frames of each window of rows, (frames, columns)."""
        device = self.model.device
        rows = nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
        mask = torch.arange(rows.shape[1]) < torch.tensor([[len(clip)] for clip in clips])
        frames = self.model.encode_latents(rows.to(device), mask.to(device))
        values = use(frames).float().cpu().numpy()
        return [row[: len(clip)] for row, clip in zip(values, clips, strict=True)]


class _Reader:
    """The rows of one stretch, and what is known when they have ended."""

    def __init__(self, items: Iterator[tuple[int, Any]], model: FrameModel, spent: Spent) -> None:
        self._items = items
        self._stretch: Stretch = next(items)[1]
        self._stream = model.open_stream()
        self._spent = spent
        self.samples = -self._stretch.lead * HOP_SAMPLES
        self.error: AudioError | None = None

    def rows(self) -> Iterator[Samples]:
        """What the model's stream makes of the samples, without the lead, and no more frames than are wanted."""
        early, left = self._stretch.lead, self._stretch.frames
        for part in self._parts():
            rows = part[early:]
            early -= min(early, len(part))
            if left is not None:
                rows, left = rows[:left], left - min(left, len(rows))
            yield rows.cpu().numpy()

    def _parts(self) -> Iterator[torch.Tensor]:
        while True:
            began = time.perf_counter()
            _, block = next(self._items, (0, None))
            now = time.perf_counter()
            self._spent.waiting += now - began
            if isinstance(block, AudioError):
                self.error = block
                return
            if block is None:
                break
            self.samples += len(block)
            rows = self._stream.push(torch.from_numpy(block))
            self._spent.hearing += time.perf_counter() - now
            yield rows
        yield self._stream.finish()
