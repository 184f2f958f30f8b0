"""Batches of latents from a cache, in an order that can be taken up anywhere.

Which items a batch has depends on the seed, the epoch, the rank and the number of ranks alone; what happens to an item
on the seed, the epoch and its number alone. So any number of workers gives the same batches, and a run that goes on
in the middle of an epoch gets those that the uninterrupted one would have got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe.data.epochs import Epochs, Items, Order, crop_frames, padded
from peaframe.data.latent_augment import LatentAugment, Rows, Targets, blot, mix
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache
from peaframe.errors import OptionError


@dataclass(frozen=True, eq=False)
class LatentBatch:
    """Items of one batch, zeros behind their ends.

    Attributes:
        latents: (batch, frames, channels) float32.
        mask: (batch, frames), true where there is sound.
        targets: (batch, frames, labels), of the type they are given in; 0 where nothing counts.
        counted: (batch, frames), true where targets count: the mask, without stretches that were blotted out.
        items: (batch,) number of each item.
        partners: (batch,) number of the item mixed into it, or -1.
        starts: (batch,) first frame of each item that is in the batch.
    """

    latents: Tensor
    mask: Tensor
    targets: Tensor
    counted: Tensor
    items: Tensor
    partners: Tensor
    starts: Tensor


# Latents, targets, counted frames, item, partner, start.
_Crop = tuple[Rows, Targets, NDArray[np.bool_], int, int, int]


class _Crops(Items):
    """Items as they stand in a batch."""

    def __init__(
        self,
        cache: LatentCache,
        keys: list[str],
        targets: Callable[[int], Any],
        crop: int | None,
        seed: int,
        augment: LatentAugment,
    ) -> None:
        self.cache, self.keys, self.targets = cache, keys, targets
        self.crop, self.seed, self.augment = crop, seed, augment

    def prepare(self, epoch: int, item: int) -> _Crop:
        rng = np.random.default_rng((self.seed, epoch, item + 1))
        rows, targets, start = self._cut(item, rng)
        partner = -1
        if rng.random() < self.augment.mixup and len(self.keys) > 1:
            partner = (item + 1 + int(rng.integers(len(self.keys) - 1))) % len(self.keys)
            more, theirs, _ = self._cut(partner, rng)
            share = float(rng.uniform(*self.augment.mixup_share))
            rows, targets = mix((rows, targets), (more, theirs), share, rng)
        rows, counted = blot(rows, self.augment, rng)
        targets = np.where(counted[:, None], targets, np.zeros((), targets.dtype))
        return rows, targets, counted, item, partner, start

    def _cut(self, item: int, rng: np.random.Generator) -> tuple[Rows, Targets, int]:
        rows, targets = self.cache.get(self.keys[item]), np.asarray(self.targets(item))
        if targets.ndim != 2 or len(targets) != len(rows):
            raise OptionError(
                f"got targets of shape {targets.shape} for item {item}, expected ({len(rows)} frames, labels)"
            )
        start = 0
        if self.crop is not None and len(rows) > self.crop:
            start = int(rng.integers(len(rows) - self.crop + 1))
            rows, targets = rows[start : start + self.crop], targets[start : start + self.crop]
        return rows.astype(np.float32), targets, start


def _together(crops: list[_Crop]) -> LatentBatch:
    rows, targets, counted, items, partners, starts = zip(*crops, strict=True)
    mask = padded([np.ones(len(own), dtype=bool) for own in rows])
    numbers = (torch.tensor(values) for values in (items, partners, starts))
    return LatentBatch(padded(rows), mask, padded(targets), padded(counted), *numbers)


class LatentLoader(Epochs[LatentBatch]):
    """Batches of latents; see `peaframe.data.epochs`."""

    def __init__(
        self,
        cache: LatentCache,
        items: Sequence[AudioPart | str],
        targets: Callable[[int], Any],
        *,
        batch_size: int | None = None,
        batch_frames: int | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        augment: LatentAugment | None = None,
    ) -> None:
        """Prepare.

        Args:
            cache: has the latents of all items.
            items: parts of recordings, or their keys.
            targets: gives those of an item by its number: (frames, labels) for all its frames, with as many labels for
                every item. +1 heard, -1 not heard, 0 unknown. It must not change anything: worker processes call it.
            batch_size: most items of a batch; this or `batch_frames` is needed.
            batch_frames: most frames of a batch, with padding.
            crop_seconds: longer items are cut to this length, elsewhere in every epoch; None for whole items.
            seed: of everything that is drawn.
            shuffle: false for the order of the items.
            rank: of this process.
            world_size: number of ranks.
            workers: processes that prepare batches; 0 for this one.
            augment: what happens to items; None for nothing.

        Raises:
            OptionError: a number makes no sense, there are no items, or latents of some are not in the cache.
        """
        given = [size for size in (batch_size, batch_frames) if size is not None]
        if len(given) != 1 or given[0] < 1:
            raise OptionError(
                f"got batch_size {batch_size} and batch_frames {batch_frames}, expected one of them, 1 or more"
            )
        crop = crop_frames(crop_seconds)
        if not items:
            raise OptionError("got no items, expected one or more")
        keys = [item if isinstance(item, str) else cache.key(item) for item in items]
        absent = [item for item, key in zip(items, keys, strict=True) if key not in cache]
        if absent:
            raise OptionError(
                f"{cache.folder}: has no latents of {len(absent)} of {len(items)} items, the first is {absent[0]}; "
                "fill the cache first"
            )
        whole = [cache.frames(key) for key in keys]
        frames = whole if crop is None else [min(crop, n) for n in whole]
        crops = _Crops(cache, keys, targets, crop, seed, augment or LatentAugment())
        order = Order(frames, seed, shuffle, batch_size, batch_frames, rank, world_size)
        super().__init__(crops, _together, order, [crop, asdict(crops.augment), keys], workers, ahead=4)
