"""Batches in an order that can be taken up anywhere: what all loaders of training have in common.

Which items a batch has depends on the seed, the epoch, the rank and the number of ranks alone. So a run that goes on in
the middle of an epoch gets the batches that the uninterrupted one would have got; and where what happens to an item
depends on the seed, the epoch and its number alone, any number of workers gives the same.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from peaframe.clock import frames_of_seconds
from peaframe.errors import OptionError, PeaframeError

B = TypeVar("B")


@dataclass(frozen=True)
class Order:
    """How items are drawn, see `epoch_batches`."""

    frames: Sequence[int]
    seed: int
    shuffle: bool
    batch_size: int | None
    batch_frames: int | None = None
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.seed < 0 or not 0 <= self.rank < self.world_size:
            raise OptionError(
                f"got seed {self.seed}, rank {self.rank} of {self.world_size}; expected a seed of 0 or more and a rank "
                "from 0 to world_size - 1"
            )

    def batches(self, epoch: int) -> list[list[int]]:
        """Of an epoch."""
        sizes = self.batch_size, self.batch_frames
        return epoch_batches(self.frames, epoch, self.seed, self.shuffle, *sizes, self.rank, self.world_size)


def epoch_batches(
    frames: Sequence[int],
    epoch: int,
    seed: int,
    shuffle: bool,
    batch_size: int | None,
    batch_frames: int | None,
    rank: int = 0,
    world_size: int = 1,
) -> list[list[int]]:
    """Which items each batch of a rank has in an epoch.

    Items are drawn without replacement, cut into batches and dealt to the ranks in turn. Every rank gets the same
    number of batches: the epoch's first ones are dealt again to those that would go without.

    Args:
        frames: of every item, as it stands in a batch.
        epoch: its number.
        seed: of the order.
        shuffle: false for the order of the items.
        batch_size: most items of a batch.
        batch_frames: most frames of a batch, with padding; a longer item stands alone.
        rank: of this process.
        world_size: number of ranks.
    """
    count = len(frames)
    order = (
        np.random.default_rng((seed, epoch)).permutation(count).tolist() if shuffle else list(range(count))
    )
    batches: list[list[int]] = []
    longest = 0
    for item in order:
        longest = max(longest, frames[item])
        size = len(batches[-1]) + 1 if batches else 0
        full = (batch_size is not None and size > batch_size) or (
            batch_frames is not None and size * longest > batch_frames
        )
        if not batches or full:
            batches.append([])
            longest = frames[item]
        batches[-1].append(item)
    total = -(-len(batches) // world_size) * world_size
    return [batches[i % len(batches)] for i in range(rank, total, world_size)]


class Items(Dataset[Any], ABC):
    """What becomes of items; an error is handed on, since torch would make many lines of it."""

    def __getitem__(self, place: tuple[int, int]) -> Any:
        """What becomes of an item in an epoch, by (epoch, item), or what went wrong."""
        try:
            return self.prepare(*place)
        except PeaframeError as error:
            return error

    @abstractmethod
    def prepare(self, epoch: int, item: int) -> Any:
        """What becomes of an item in an epoch."""


def crop_frames(crop_seconds: float | None) -> int | None:
    """Frames that longer items are cut to; raises OptionError if there are none."""
    crop = None if crop_seconds is None else frames_of_seconds(crop_seconds)
    if crop is not None and crop < 1:
        raise OptionError(f"got crop_seconds {crop_seconds}, expected 0.04 s or more")
    return crop


def padded(values: Sequence[NDArray[Any]]) -> Tensor:
    """Arrays of one type, alike but for their first axes, in one tensor, with zeros behind their ends."""
    longest = max(map(len, values))
    out = np.zeros((len(values), longest, *values[0].shape[1:]), values[0].dtype)
    for row, value in zip(out, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(out)


class Epochs(Generic[B]):
    """Batches of an epoch, each time it is gone through; one left in the middle goes on there.

    Attributes:
        epoch: the epoch that is, or will be, gone through.
        batch: how many of its batches have been given.
    """

    def __init__(
        self,
        items: Items,
        together: Callable[[list[Any]], Any],
        order: Order,
        described: Any,
        workers: int,
        ahead: int = 2,
    ) -> None:
        """Prepare.

        Args:
            items: what becomes of them.
            together: makes a batch of a list of them.
            order: which items a batch has.
            described: all that batches depend on beside it, as JSON; a state of other data or options is refused.
            workers: processes that prepare batches; 0 for this one.
            ahead: batches that each of them has ready.

        Raises:
            OptionError: `workers` is negative.
        """
        if workers < 0:
            raise OptionError(f"got workers {workers}, expected 0 or more")
        self.epoch = self.batch = 0
        self._items, self._together, self._order = items, together, order
        self._workers, self._ahead = workers, ahead
        own = [order.seed, order.shuffle, order.batch_size, order.batch_frames, order.world_size]
        self._data = hashlib.sha256(json.dumps([own, described]).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        """Batches of this epoch, given or not; they may differ between epochs where frames are counted."""
        return len(self._order.batches(self.epoch))

    def __iter__(self) -> Iterator[B]:
        """The batches of this epoch that have not been given."""
        places = [[(self.epoch, i) for i in batch] for batch in self._order.batches(self.epoch)[self.batch :]]
        loader: Iterable[Any] = DataLoader(
            self._items,
            batch_sampler=places,
            num_workers=self._workers,
            collate_fn=partial(_together, self._together),
            prefetch_factor=self._ahead if self._workers else None,
            generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
        )
        for left, prepared in zip(range(len(places) - 1, -1, -1), loader, strict=True):
            if isinstance(prepared, PeaframeError):
                raise prepared
            batch = self._finish(prepared)
            self.epoch, self.batch = (self.epoch, self.batch + 1) if left else (self.epoch + 1, 0)
            yield batch

    def _finish(self, prepared: Any) -> B:
        """What is left to do to a batch in this process."""
        batch: B = prepared
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where it is: the same on every rank; numbers and a hash of items and options."""
        return {"epoch": self.epoch, "batch": self.batch, "data": self._data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            OptionError: it had other items or other options, so its batches were others.
        """
        if state.get("data") != self._data:
            raise OptionError(
                f"got the state {state.get('data')} of other items or options, this loader is {self._data}; "
                "resume with the data, batches, seed and number of ranks of the run that is resumed"
            )
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])


def _together(make: Callable[[list[Any]], Any], found: list[Any]) -> Any:
    """A batch of what became of items, or what went wrong."""
    try:
        return next((one for one in found if isinstance(one, PeaframeError)), None) or make(found)
    except PeaframeError as error:
        return error
