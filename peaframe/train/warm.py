"""A warm start on single frames: learn what sounds are before when they are.

Frames of one scene resemble each other, so a step of whole scenes holds few different sounds. Here the front end hears
many scenes once, a few frames of each are kept, and the layers around the tower learn from frames drawn at random,
many times over; the tower, which starts as the identity, learns afterwards, on scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from peaframe.models.frame import MiniFrameModel
from peaframe.train.scenes import SceneDataset, SceneSampler, scene_loader
from peaframe.train.teacher import Teacher

FIRST = 2**30  # batches of scenes for the bank are counted from here; training's start at 0


@dataclass(frozen=True)
class FrameBank:
    """Frames of many scenes.

    Attributes:
        features: (frames, channels) float16, what the front end's maps hold.
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
    model: MiniFrameModel,
    teacher: Teacher,
    dataset: SceneDataset,
    frames: int,
    scene_seconds: float,
    seconds: float,
    workers: int,
    seed: int,
    per_scene: int = 4,
) -> FrameBank:
    """Let the front end of `model`, which still holds the teacher's convolutions, hear scenes and keep frames.

    Args:
        model: its front end listens.
        teacher: gives class scores for the same frames.
        dataset: the scenes.
        frames: how many to keep; where something is heard three times out of four, if it is anywhere.
        scene_seconds: length of the scenes.
        seconds: seconds of audio at a time.
        workers: processes that mix.
        seed: of the choice of frames.
        per_scene: frames of one scene.
    """
    bank = FrameBank(
        torch.empty(frames, len(model.front.standardize.mean), dtype=torch.float16),
        torch.empty(frames, len(dataset.labels), dtype=torch.int8),
        torch.empty(frames, len(teacher.names), dtype=torch.float16),
    )
    sampler = SceneSampler(seed, FIRST, FIRST + frames, (scene_seconds,), seconds)
    bar = tqdm(total=frames, desc="listen", unit="frame", disable=None)
    count = 0
    for batch, (waveform, targets) in enumerate(scene_loader(dataset, sampler, workers)):
        rng = np.random.default_rng((seed, 3, batch))
        features, deep = model.front.features(model.front.log_mel(waveform))
        taught = teacher.scores(deep)
        for scene in range(len(waveform)):
            rows = _some(targets[scene].numpy(), per_scene, rng)[: frames - count]
            to = slice(count, count + len(rows))
            bank.features[to] = features[scene, rows]
            bank.targets[to] = targets[scene, rows]
            bank.taught[to] = taught[scene, rows]
            count += len(rows)
            bar.update(len(rows))
        if count == frames:
            break
    bar.close()
    return bank


def _some(targets: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of `count` frames of targets (frames, labels), most of them where something is heard."""
    heard = np.flatnonzero((targets > 0).any(axis=1))
    everywhere = rng.integers(0, len(targets), count)
    if len(heard) == 0:
        return everywhere
    return np.where(rng.random(count) < 0.75, rng.choice(heard, count), everywhere)
