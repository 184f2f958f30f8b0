"""Soundscapes mixed on the fly, as batches of latents: no scene is ever heard twice.

Scene i depends on the mixer's seed and i alone, and which scenes a batch has on the seed, the epoch, the rank and the
number of ranks. So any number of workers gives the same batches, and a run that goes on in the middle of an epoch gets
those that the uninterrupted one would have got. Workers mix; this process hears, where the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe.clock import SAMPLE_RATE, frames_of_seconds
from peaframe.data.epochs import Epochs, Items, Order
from peaframe.data.latent_loader import LatentBatch
from peaframe.data.mix import Mixer, Scene
from peaframe.data.sound_features import hear
from peaframe.errors import OptionError
from peaframe.models.frame import FrameModel

# Waveform, targets, number of the scene within the epoch.
_Mixed = tuple[Tensor, Tensor, int]


class _Scenes(Items):
    """Scenes with their targets."""

    def __init__(
        self, mixer: Mixer, targets: Callable[[Scene], NDArray[Any]], labels: int, count: int, seconds: float
    ) -> None:
        self.mixer, self.targets, self.labels = mixer, targets, labels
        self.count, self.seconds = count, seconds

    def prepare(self, epoch: int, item: int) -> _Mixed:
        """A scene, by its number within an epoch."""
        scene = self.mixer.scene(epoch * self.count + item, self.seconds)
        targets = self.targets(scene)
        if targets.shape != (len(scene.states), self.labels):
            raise OptionError(
                f"got targets of shape {targets.shape} for scene {item} of epoch {epoch}, expected "
                f"({len(scene.states)} frames, {self.labels} labels)"
            )
        return torch.from_numpy(scene.waveform), torch.from_numpy(targets), item


def _together(scenes: list[_Mixed]) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes as (waveforms, targets, numbers)."""
    waveforms, targets, items = zip(*scenes, strict=True)
    return torch.stack(waveforms), torch.stack(targets), torch.tensor(items)


class SceneFeatures(Epochs[LatentBatch]):
    """Batches of scenes as latents; see `peaframe.data.epochs`.

    Epoch e has the mixer's scenes e * n to (e + 1) * n - 1; `items` of a batch counts them from 0 in every epoch.
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
        self._model = model
        scenes = _Scenes(mixer, targets, len(labels), scenes_per_epoch, seconds)
        lengths = [1] * scenes_per_epoch  # only batches bounded by frames need to know them
        order = Order(lengths, seed, True, batch_size, None, rank, world_size)
        bank = [(clip.path.name, clip.label, clip.role) for clip in mixer.bank.clips]
        described = [frames, list(labels), mixer.seed, asdict(mixer.config), bank, scenes_per_epoch]
        super().__init__(scenes, _together, order, described, workers)

    def _finish(self, prepared: tuple[Tensor, Tensor, Tensor]) -> LatentBatch:
        """Hear the scenes."""
        waveforms, targets, items = prepared
        mask = torch.ones(targets.shape[:2], dtype=torch.bool)
        return LatentBatch(
            latents=torch.stack([hear(self._model, waveform) for waveform in waveforms]),
            mask=mask,
            targets=targets,
            counted=mask.clone(),
            items=items,
            partners=torch.full_like(items, -1),
            starts=torch.zeros_like(items),
        )
