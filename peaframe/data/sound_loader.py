"""Batches of sound, changed on the fly, in an order that can be taken up anywhere.

For what latents cannot be kept: sound that is other in every epoch, and models without a codec. It is used as
`peaframe.data.latent_loader` is and promises the same: any number of workers gives the same batches, and a run that
goes on in the middle of an epoch gets those that the uninterrupted one would have got.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peaframe import audio
from peaframe.clock import HOP_SAMPLES, frame_count, samples_of_seconds, seconds_of_samples
from peaframe.data.augment import Waveform
from peaframe.data.epochs import Epochs, Items, Order, crop_frames, padded
from peaframe.data.latent_rows import AudioPart
from peaframe.data.sound_augment import SoundAugment, Targets, augment_sound
from peaframe.errors import AudioError, OptionError


@dataclass(frozen=True, eq=False)
class SoundBatch:
    """Items of one batch, zeros behind their ends.

    Attributes:
        waveform: (batch, samples) float32, 48 kHz.
        lengths: (batch,) int64, how many samples belong to each item.
        mask: (batch, frames), true where there is sound.
        targets: (batch, frames, labels), of the type they are given in; 0 where nothing counts.
        counted: (batch, frames), true where targets count: the mask.
        items: (batch,) number of each item.
        partners: (batch,) -1: nothing is mixed into an item.
        starts: (batch,) first frame of each item that is in the batch, before shift and speed.
    """

    waveform: Tensor
    lengths: Tensor
    mask: Tensor
    targets: Tensor
    counted: Tensor
    items: Tensor
    partners: Tensor
    starts: Tensor


# Samples, targets, item, start.
_Crop = tuple[Waveform, Targets, int, int]


class _Crops(Items):
    """Items as they stand in a batch."""

    def __init__(
        self,
        parts: list[AudioPart],
        targets: Callable[[int], Any],
        crop: int | None,
        seed: int,
        augment: SoundAugment,
    ) -> None:
        self.parts, self.targets = parts, targets
        self.crop, self.seed, self.augment = crop, seed, augment

    def prepare(self, epoch: int, item: int) -> _Crop:
        rng = np.random.default_rng((self.seed, epoch, item + 1))
        waveform, targets, start = self._cut(item, rng)
        waveform, targets = augment_sound(waveform, targets, self.augment, rng)
        if self.crop is not None:  # slower is longer
            waveform, targets = waveform[: self.crop * HOP_SAMPLES], targets[: self.crop]
        return waveform, targets, item, start

    def _cut(self, item: int, rng: np.random.Generator) -> tuple[Waveform, Targets, int]:
        part = self.parts[item]
        first = samples_of_seconds(part.start)
        if part.duration is None:
            whole = audio.probe(part.path).duration
            samples = samples_of_seconds(whole) - first
            if samples < 1:
                raise AudioError(
                    f"{part.path}: start {part.start} s is not before the recording's end at {whole:.3f} s"
                )
        else:
            samples = max(1, samples_of_seconds(part.duration))
        frames = frame_count(samples)
        targets = np.asarray(self.targets(item))
        if targets.ndim != 2 or len(targets) != frames:
            raise OptionError(
                f"got targets of shape {targets.shape} for item {item}, expected ({frames} frames, labels)"
            )
        start, end = 0, first + samples
        if self.crop is not None and frames > self.crop:
            start = int(rng.integers(frames - self.crop + 1))
            end = min(end, first + (start + self.crop) * HOP_SAMPLES)
        begin = first + start * HOP_SAMPLES
        waveform = audio.read(part.path, seconds_of_samples(begin), seconds_of_samples(end))
        # Lossy files may be some frames shorter than they say.
        return waveform, targets[start : start + frame_count(len(waveform))], start


def _together(crops: list[_Crop]) -> SoundBatch:
    labels = {targets.shape[1] for _, targets, *_ in crops}
    if len(labels) > 1:
        raise OptionError(f"got targets of {sorted(labels)} labels in one batch, expected as many for all")
    waveforms, targets, items, starts = zip(*crops, strict=True)
    mask = padded([np.ones(len(own), dtype=bool) for own in targets])
    return SoundBatch(
        waveform=padded(waveforms),
        lengths=torch.tensor([len(own) for own in waveforms]),
        mask=mask,
        targets=padded(targets),
        counted=mask.clone(),
        items=torch.tensor(items),
        partners=torch.full((len(crops),), -1),
        starts=torch.tensor(starts),
    )


class SoundLoader(Epochs[SoundBatch]):
    """Batches of sound; see `peaframe.data.epochs`."""

    def __init__(
        self,
        items: Sequence[AudioPart],
        targets: Callable[[int], Any],
        *,
        batch_size: int,
        crop_seconds: float | None = None,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        augment: SoundAugment | None = None,
    ) -> None:
        """Prepare. Recordings are opened when their turn comes; that they exist is checked here.

        Args:
            items: parts of recordings.
            targets: gives those of an item by its number: (frames, labels) for all its frames (1920 samples each, the
                last may be shorter), with as many labels for every item. +1 heard, -1 not heard, 0 unknown. It must
                not change anything: worker processes call it.
            batch_size: most items of a batch.
            crop_seconds: of longer items only a part of this length is read, another one in every epoch; None for
                whole items. Items that were slowed down are cut at this length.
            seed: of everything that is drawn.
            shuffle: false for the order of the items.
            rank: of this process.
            world_size: number of ranks.
            workers: processes that prepare batches; 0 for this one.
            augment: what happens to items; None for nothing.

        Raises:
            OptionError: a number makes no sense, there are no items, or files are missing.
        """
        if batch_size < 1:
            raise OptionError(f"got batch_size {batch_size}, expected 1 or more")
        crop = crop_frames(crop_seconds)
        if not items:
            raise OptionError("got no items, expected one or more")
        parts = list(items)
        absent = [part for part in parts if not os.path.isfile(part.path)]
        if absent:
            raise OptionError(
                f"the recordings of {len(absent)} of {len(parts)} items are missing, the first is {absent[0].path}; "
                "check their names"
            )
        crops = _Crops(parts, targets, crop, seed, augment or SoundAugment())
        lengths = [1] * len(parts)  # only batches bounded by frames need to know them
        order = Order(lengths, seed, shuffle, batch_size, None, rank, world_size)
        named = [(os.fspath(part.path), part.start, part.duration) for part in parts]
        super().__init__(crops, _together, order, [crop, asdict(crops.augment), named], workers)
