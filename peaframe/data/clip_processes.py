"""Samples of clips, made by many workers, in the order of the clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from peaframe.data.clip_maker import ClipContent, ClipMaker
from peaframe.data.clip_media import shown
from peaframe.data.clips_table import ClipRow
from peaframe.data.shard_folder import Made
from peaframe.workers import engine
from peaframe.workers.local import resident
from peaframe.workers.order import in_order


@dataclass(frozen=True)
class ClipFacts:
    """What a worker says of itself.

    Attributes:
        made: what the index says of the model, see `ClipMaker`.
        device: `cpu` or `cuda`.
        devices: how many of that kind its machine has; of a CPU, 1.
        memory: bytes the worker holds with the model loaded.
    """

    made: Mapping[str, Mapping[str, Any] | None]
    device: str
    devices: int
    memory: int


@dataclass(frozen=True)
class ClipResult:
    """The sample of a clip.

    Attributes:
        first: the clip's number.
        made: the sample, or why there is none.
    """

    first: int
    made: Made

    def __len__(self) -> int:
        """One clip."""
        return 1


@dataclass(frozen=True)
class ClipUnit:
    """A clip to make a sample of.

    Attributes:
        first: its number.
        row: which it is.
    """

    first: int
    row: ClipRow

    def __len__(self) -> int:
        """One clip."""
        return 1

    def alone(self) -> list[ClipUnit]:
        """It is alone."""
        return [self]

    def failed(self, tries: int, reason: str) -> ClipResult:
        """It is left out; the reason is in the words of one engine, and shards do not depend on the engine."""
        said = f"{tries} processes died or failed when they decoded it; repair the file"
        return ClipResult(self.first, Made(self.first, shown(self.row.media), reason=said))


@dataclass(frozen=True)
class ClipMachine:
    """Makes workers that make samples.

    Attributes:
        wanted: what is kept of each clip.
    """

    wanted: ClipContent

    @property
    def model(self) -> str:
        """What a worker loads."""
        return self.wanted.model or "no model"

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self.wanted.device

    def on(self, device: str) -> ClipMachine:
        """The same on another device."""
        return ClipMachine(replace(self.wanted, device=device))

    def worker(self) -> ClipWorker:
        """A worker that has this process for itself; raises as `ClipMaker` does."""
        torch.set_num_threads(1)
        return ClipWorker(self.wanted)


class ClipWorker:
    """Makes samples, one after the other."""

    def __init__(self, wanted: ClipContent) -> None:
        """Load the model; raises as `ClipMaker` does."""
        self._maker, self._device = ClipMaker(wanted), torch.device(wanted.device).type

    def facts(self) -> ClipFacts:
        """What it runs."""
        devices = torch.cuda.device_count() if self._device == "cuda" else 1
        return ClipFacts(self._maker.made, self._device, devices, resident())

    def begin(self, orders: None) -> None:
        """Nothing is to be learnt."""

    def do(self, unit: ClipUnit) -> ClipResult:
        """The sample of a clip."""
        return ClipResult(unit.first, self._maker((unit.first, unit.row)))

    def close(self) -> None:
        """Nothing would stay."""


ClipEngine = engine.Engine[ClipFacts, None, ClipUnit, ClipResult]


def by_workers(workers: ClipEngine, tasks: Iterator[tuple[int, ClipRow]]) -> Iterator[Made]:
    """Samples in the order of the tasks; a clip that three workers were lost over is left out."""
    first = next(tasks, None)
    if first is None:
        return
    workers.begin(None)

    def units() -> Iterator[ClipUnit]:
        yield ClipUnit(*first)
        for number, row in tasks:
            yield ClipUnit(number, row)

    for result in in_order(workers.do, units(), lambda: workers.jobs):
        yield result.made
