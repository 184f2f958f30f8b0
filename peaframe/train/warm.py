"""A warm start on single frames: learn what sounds are before when they are.

Frames of one scene resemble each other, so a step of whole scenes holds few different sounds. Here the front end hears
many scenes once, a few frames of each are kept, and the layers around the tower learn from frames drawn at random,
many times over; the tower, which starts as the identity, learns afterwards, on scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from peaframe.train.scenes import SceneDataset, SceneSampler, scene_loader

FIRST = 2**30  # batches of scenes for the bank are counted from here; training's start at 0


@dataclass(frozen=True)
class FrameBank:
    """Frames of many scenes.

    Attributes:
        features: (frames, channels) float16, what the front end's maps hold, or embeddings.
        targets: (frames, labels) int8 in {-1, 0, 1}.
        taught: (frames, classes) float16, the teacher's probabilities.
    """

    features: Tensor
    targets: Tensor
    taught: Tensor

    def batches(self, size: int, first: int, last: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Random batches for steps `first` to `last`: features, targets, taught, each (size, 1, ...)."""
        for step in range(first, last):
            rows = np.random.default_rng((seed, 2, step)).integers(0, len(self.features), size)
            yield (
                self.features[rows, None].float(),
                self.targets[rows, None],
                self.taught[rows, None].float(),
            )


@torch.no_grad()
def frame_bank(
    listen: Callable[[Tensor], tuple[Tensor, Tensor]],
    dataset: SceneDataset,
    frames: int,
    scene_seconds: float,
    seconds: float,
    workers: int,
    seed: int,
    first: int = FIRST,
    per_scene: int = 4,
) -> FrameBank:
    """Let a model hear scenes and keep some frames.

    Args:
        listen: maps waveforms (batch, samples) at 16 kHz to features (batch, frames, channels) and a teacher's
            probabilities (batch, frames, classes).
        dataset: the scenes.
        frames: how many to keep; where something is heard three times out of four, if it is anywhere.
        scene_seconds: length of the scenes.
        seconds: seconds of audio at a time.
        workers: processes that mix.
        seed: of the choice of frames.
        first: number of the first batch of scenes.
        per_scene: frames of one scene.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    sampler = SceneSampler(seed, first, first + frames, (scene_seconds,), seconds)
    bar = tqdm(total=frames, desc="listen", unit="frame", disable=None)
    count = 0
    for batch, (waveform, targets) in enumerate(scene_loader(dataset, sampler, workers)):
        rng = np.random.default_rng((seed, 3, batch))
        features, taught = listen(waveform)
        for scene in range(len(waveform)):
            rows = _some(targets[scene].numpy(), per_scene, rng)[: frames - count]
            parts.append((features[scene, rows].half(), targets[scene, rows], taught[scene, rows].half()))
            count += len(rows)
            bar.update(len(rows))
        if count == frames:
            break
    bar.close()
    return FrameBank(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _some(targets: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of `count` frames of targets (frames, labels), most of them where something is heard."""
    heard = np.flatnonzero((targets > 0).any(axis=1))
    everywhere = rng.integers(0, len(targets), count)
    if len(heard) == 0:
        return everywhere
    return np.where(rng.random(count) < 0.75, rng.choice(heard, count), everywhere)
