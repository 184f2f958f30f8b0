"""Batches from shards (`peaframe.data.shards`) of latents, or of sound that is heard here.

Which samples a batch has is the reader's business; what happens to one depends on the seed, the epoch and the sample's
key alone, and on the sample before it where that is mixed in. So threads change nothing, and a run that goes on in the
middle of an epoch gets the batches that the uninterrupted one would have got.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from peaframe.clock import HOP_SAMPLES, frame_count, frames_of_seconds
from peaframe.data import manifest
from peaframe.data.latent_augment import LatentAugment, Rows, Targets, blot, mix
from peaframe.data.latent_loader import LatentBatch
from peaframe.data.manifest_item import Item, refuse_doubles
from peaframe.data.shard_files import Sample
from peaframe.data.shard_reader import ShardReader
from peaframe.data.sound_features import hear
from peaframe.errors import FormatError, OptionError
from peaframe.models.frame import FrameModel

_KEYS = 10**15  # numbers of keys are less; those of samples whose key is taken lie above


@dataclass(frozen=True, eq=False)
class _Crop:
    """A sample as it goes into a batch; `rng` is its own, and has drawn where it was cut."""

    number: int
    rows: Rows
    targets: Targets
    start: int
    rng: np.random.Generator


class ShardBatches:
    """Batches of an epoch, each time it is gone through; one left in the middle goes on there.

    `items` of a batch are the samples' keys as numbers; `item` gives what stands behind a number. All ranks give
    equally many batches, as readers give equally many samples; the last one of an epoch may be smaller.
    """

    def __init__(
        self,
        reader: ShardReader,
        labels: Sequence[str],
        *,
        batch_size: int,
        crop_seconds: float | None = None,
        seed: int = 0,
        augment: LatentAugment | None = None,
        model: FrameModel | None = None,
    ) -> None:
        """Prepare.

        Args:
            reader: gives the samples of this rank; nobody else may take any.
            labels: the columns of the targets, each once.
            batch_size: most samples of a batch.
            crop_seconds: longer samples are cut to this length, elsewhere in every epoch; None for whole samples. Of
                sound, only that is heard.
            seed: of crops and augmentation; that of the order is the reader's.
            augment: what happens to latents; None for nothing. What is mixed into a sample is the one before it in
                the same batch, as it was cut; so nothing is mixed into the first.
            model: its still part hears samples of sound, on its device; None where there are only latents.

        Raises:
            OptionError: a number makes no sense, or there are no labels, or one is there twice.
        """
        crop = None if crop_seconds is None else frames_of_seconds(crop_seconds)
        if batch_size < 1 or seed < 0 or (crop is not None and crop < 1) or not labels:
            raise OptionError(
                f"got batch_size {batch_size}, seed {seed}, crop_seconds {crop_seconds}, {len(labels)} labels; "
                "expected one label or more, batches of 1 or more, a seed of 0 or more, and crops of 0.04 s or more"
            )
        refuse_doubles(labels, "labels")
        self._reader, self._labels, self._model = reader, tuple(labels), model
        self._batch_size, self._crop, self._seed = batch_size, crop, seed
        self._augment = augment or LatentAugment()
        self._held: dict[int, Item] = {}
        described = [batch_size, crop, seed, asdict(self._augment), self._labels]
        self._data = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        """Batches of an epoch on each rank, given or not."""
        return -(-len(self._reader) // self._batch_size)

    def __iter__(self) -> Iterator[LatentBatch]:
        """The batches of this epoch that have not been given.

        Raises:
            FormatError: while iterating: a shard is damaged.
            OptionError: while iterating: samples are sound and there is no model, or latents are not the model's.
        """
        epoch = self._reader.epoch
        with closing(_generator(self._reader)) as samples:
            while taken := list(islice(samples, self._batch_size)):
                held: dict[int, Item] = {}
                crops = []
                for item, content in taken:
                    key = _key_number(item)
                    number = _free(key, held)
                    held[number] = item
                    rng = np.random.default_rng((self._seed, epoch, key + 1))
                    crops.append(self._cut(number, item, content, rng))
                batch = self._together(crops)
                self._held = held
                yield batch

    def item(self, number: int) -> Item:
        """What is known of a sample of the batch given last, by its number in `items` or `partners`.

        Raises:
            OptionError: there is no such sample in it.
        """
        if number not in self._held:
            raise OptionError(
                f"got sample {number}, expected one of the {len(self._held)} of the batch given last; ask for items "
                "before the next batch is taken"
            )
        return self._held[number]

    def state_dict(self) -> dict[str, Any]:
        """Where it is: the same on every rank; the reader's state and a hash of the options."""
        return {"reader": self._reader.state_dict(), "data": self._data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            OptionError: it had other shards or other options, so its batches were others.
        """
        if state.get("data") != self._data:
            raise OptionError(
                f"got the state {state.get('data')} of other options, this one is {self._data}; resume with the "
                "labels, batches, crops, augmentation and seed of the run that is resumed"
            )
        self._reader.load_state_dict(state["reader"])
        self._held = {}

    def _cut(self, number: int, item: Item, content: NDArray[Any], rng: np.random.Generator) -> _Crop:
        sound = content.ndim == 1
        if content.ndim not in (1, 2) or not content.size:
            raise FormatError(
                f"{item.audio}: holds an array of shape {content.shape}, expected samples of sound or (frames, "
                "channels), some of each; write it again"
            )
        if sound and self._model is None:
            raise OptionError(f"{item.audio}: is sound; give a model that hears it, or shards of latents")
        frames = frame_count(len(content)) if sound else len(content)
        targets = manifest.targets(item, self._labels, frames)
        start, end = 0, frames
        if self._crop is not None and frames > self._crop:
            start = int(rng.integers(frames - self._crop + 1))
            end = start + self._crop
        if sound and self._model is not None:
            waveform = content[start * HOP_SAMPLES : end * HOP_SAMPLES]
            rows = hear(self._model, torch.from_numpy(waveform)).cpu().numpy()
        else:
            rows = content[start:end].astype(np.float32)
        if self._model is not None and rows.shape[1] != self._model.feature_channels:
            raise OptionError(
                f"{item.audio}: latents of {rows.shape[1]} channels, the model takes {self._model.feature_channels}; "
                "give the shards that were made with it"
            )
        return _Crop(number, rows, targets[start:end], start, rng)

    def _together(self, crops: Sequence[_Crop]) -> LatentBatch:
        """Samples as a batch, augmented."""
        widths = {crop.rows.shape[1] for crop in crops}
        if len(widths) > 1:
            raise OptionError(
                f"got latents of {sorted(widths)} channels in one batch, expected as many for all; give shards that "
                "were made with one model"
            )
        done: list[tuple[Rows, Targets, NDArray[np.bool_]]] = []
        partners: list[int] = []
        for place, crop in enumerate(crops):
            rows, targets, partner = crop.rows, crop.targets, -1
            if crop.rng.random() < self._augment.mixup and place:
                before = crops[place - 1]
                share = float(crop.rng.uniform(*self._augment.mixup_share))
                rows, targets = mix((rows, targets), (before.rows, before.targets), share, crop.rng)
                partner = before.number
            rows, counted = blot(rows, self._augment, crop.rng)
            done.append((rows, np.where(counted[:, None], targets, np.int8(0)), counted))
            partners.append(partner)
        latents, states, kept = (
            pad_sequence([torch.from_numpy(own[i]) for own in done], batch_first=True) for i in range(3)
        )
        mask = pad_sequence(
            [torch.ones(len(crop.rows), dtype=torch.bool) for crop in crops], batch_first=True
        )
        return LatentBatch(
            latents=latents,
            mask=mask,
            targets=states,
            counted=kept,
            items=torch.tensor([crop.number for crop in crops]),
            partners=torch.tensor(partners),
            starts=torch.tensor([crop.start for crop in crops]),
        )


def _generator(reader: ShardReader) -> Generator[Sample, None, None]:
    yield from reader


def _key_number(item: Item) -> int:
    """The key of a sample as a number: its file's name before the first dot; made of a hash where it is no number."""
    key = item.audio.name.partition(".")[0]
    if key.isascii() and key.isdigit() and len(key) <= 15:
        return int(key)
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") % _KEYS


def _free(number: int, held: Collection[int]) -> int:
    """The number, made larger by some 10**15 where others of the batch have it: shards of several folders."""
    while number in held:
        number += _KEYS
    return number
