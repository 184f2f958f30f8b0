"""Soundscapes mixed on the fly, as batches of latents: no scene is ever heard twice.

Scene i depends on the mixer's seed and i alone, and which scenes a batch has on the seed, the epoch, the rank and the
number of ranks. So any number of workers gives the same batches, and a run that goes on in the middle of an epoch gets
those that the uninterrupted one would have got. Workers mix; this process hears, where the model is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from peaframe.clock import SAMPLE_RATE, frames_of_seconds
from peaframe.data.latent_loader import LatentBatch, epoch_batches
from peaframe.data.mix import Mixer, Scene
from peaframe.data.sound_features import hear
from peaframe.errors import OptionError, PeaframeError
from peaframe.models.frame import FrameModel

# Waveform, targets, number of the scene within the epoch.
_Mixed = tuple[Tensor, Tensor, int]


class _Scenes(Dataset["_Mixed | PeaframeError"]):
    """Scenes with their targets; an error is handed on, since torch would make many lines of it."""

    def __init__(
        self, mixer: Mixer, targets: Callable[[Scene], NDArray[Any]], labels: int, count: int, seconds: float
    ) -> None:
        self.mixer, self.targets, self.labels = mixer, targets, labels
        self.count, self.seconds = count, seconds

    def __getitem__(self, place: tuple[int, int]) -> _Mixed | PeaframeError:
        """A scene, by (epoch, number within it)."""
        epoch, item = place
        try:
            scene = self.mixer.scene(epoch * self.count + item, self.seconds)
            targets = self.targets(scene)
            if targets.shape != (len(scene.states), self.labels):
                raise OptionError(
                    f"got targets of shape {targets.shape} for scene {item} of epoch {epoch}, expected "
                    f"({len(scene.states)} frames, {self.labels} labels)"
                )
        except PeaframeError as error:
            return error
        return torch.from_numpy(scene.waveform), torch.from_numpy(targets), item


def _together(found: list[_Mixed | PeaframeError]) -> tuple[Tensor, Tensor, Tensor] | PeaframeError:
    """Scenes as (waveforms, targets, numbers), or what went wrong."""
    scenes: list[_Mixed] = []
    for scene in found:
        if isinstance(scene, PeaframeError):
            return scene
        scenes.append(scene)
    waveforms, targets, items = zip(*scenes, strict=True)
    return torch.stack(waveforms), torch.stack(targets), torch.tensor(items)


class SceneFeatures:
    """Batches of an epoch, each time it is gone through; one left in the middle goes on there.

    Epoch e has the mixer's scenes e * n to (e + 1) * n - 1; `items` of a batch counts them from 0 in every epoch.

    Attributes:
        epoch: the epoch that is, or will be, gone through.
        batch: how many of its batches have been given.
    """

    def __init__(
        self,
        mixer: Mixer,
        model: FrameModel,
        labels: Sequence[str],
        targets: Callable[[Scene], NDArray[Any]],
        *,
        scenes_per_epoch: int,
        batch_size: int,
        seconds: float,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> None:
        """Prepare.

        Args:
            mixer: draws the scenes, from a bank at 48 kHz.
            model: its still part hears them, on its device.
            labels: the columns of the targets.
            targets: gives those of a scene: (frames, labels) int8. +1 heard, -1 not heard, 0 unknown. It must not
                change anything: worker processes call it.
            scenes_per_epoch: n, of all ranks together.
            batch_size: most scenes of a batch; an epoch's last one may be smaller.
            seconds: length of every scene.
            seed: of the order of an epoch's scenes; what is in them depends on the mixer's.
            rank: of this process.
            world_size: number of ranks. All give the same number of batches; the epoch's first ones come twice where
                they cannot be dealt evenly.
            workers: processes that mix; 0 for this one.

        Raises:
            OptionError: the bank runs at another rate, there are no labels, or a number makes no sense.
        """
        if mixer.bank.rate != SAMPLE_RATE:
            raise OptionError(
                f"got a sound bank at {mixer.bank.rate} Hz, expected {SAMPLE_RATE} Hz, which models hear; open it "
                "at that rate"
            )
        frames = frames_of_seconds(seconds)
        if scenes_per_epoch < 1 or batch_size < 1 or frames < 1 or not labels:
            raise OptionError(
                f"got scenes_per_epoch {scenes_per_epoch}, batch_size {batch_size}, seconds {seconds}, {len(labels)} "
                "labels; expected 1 or more of each, and scenes of 0.04 s or more"
            )
        if seed < 0 or workers < 0 or not 0 <= rank < world_size:
            raise OptionError(
                f"got seed {seed}, workers {workers}, rank {rank} of {world_size}; expected a seed and workers of 0 "
                "or more, and a rank from 0 to world_size - 1"
            )
        self.epoch = self.batch = 0
        self._model = model
        self._scenes = _Scenes(mixer, targets, len(labels), scenes_per_epoch, seconds)
        self._seed, self._batch_size = seed, batch_size
        self._rank, self._world_size, self._workers = rank, world_size, workers
        bank = [(clip.path.name, clip.label, clip.role) for clip in mixer.bank.clips]
        sizes = [scenes_per_epoch, batch_size, frames, seed, world_size]
        described = [*sizes, list(labels), mixer.seed, asdict(mixer.config), bank]
        self._data = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def _batches(self) -> list[list[int]]:
        lengths = [1] * self._scenes.count  # only batches bounded by frames need to know them
        return epoch_batches(
            *(lengths, self.epoch, self._seed, True, self._batch_size, None), self._rank, self._world_size
        )

    def __len__(self) -> int:
        """Batches of an epoch on each rank, given or not."""
        batches = -(-self._scenes.count // self._batch_size)
        return -(-batches // self._world_size)

    def __iter__(self) -> Iterator[LatentBatch]:
        """The batches of this epoch that have not been given."""
        places = [[(self.epoch, item) for item in batch] for batch in self._batches()[self.batch :]]
        loader: Iterable[tuple[Tensor, Tensor, Tensor] | PeaframeError] = DataLoader(
            self._scenes,
            batch_sampler=places,
            num_workers=self._workers,
            collate_fn=_together,
            prefetch_factor=2 if self._workers else None,
            generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
        )
        for left, mixed in zip(range(len(places) - 1, -1, -1), loader, strict=True):
            if isinstance(mixed, PeaframeError):
                raise mixed
            waveforms, targets, items = mixed
            latents = torch.stack([hear(self._model, waveform) for waveform in waveforms])
            mask = torch.ones(targets.shape[:2], dtype=torch.bool)
            batch = LatentBatch(
                latents=latents,
                mask=mask,
                targets=targets,
                counted=mask.clone(),
                items=items,
                partners=torch.full_like(items, -1),
                starts=torch.zeros_like(items),
            )
            self.epoch, self.batch = (self.epoch, self.batch + 1) if left else (self.epoch + 1, 0)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where it is: the same on every rank; numbers and a hash of the mixer and the options."""
        return {"epoch": self.epoch, "batch": self.batch, "data": self._data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            OptionError: it had another mixer or other options, so its batches were others.
        """
        if state.get("data") != self._data:
            raise OptionError(
                f"got the state {state.get('data')} of other scenes or options, this one is {self._data}; resume with "
                "the sound bank, mixing, labels, batches, seeds and number of ranks of the run that is resumed"
            )
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
