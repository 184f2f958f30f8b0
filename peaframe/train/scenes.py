"""Soundscapes as batches: waveforms, targets of every label, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from peaframe.data.mix import ACTIVE, INACTIVE, UNKNOWN, Mixer, Scene


class SceneDataset(Dataset[tuple[Tensor, Tensor]]):
    """Scenes of a mixer with their targets on the frame grid."""

    def __init__(self, mixer: Mixer, labels: list[str], overlap: np.ndarray) -> None:
        self.mixer = mixer
        self.labels = {label: i for i, label in enumerate(labels)}
        self.overlap = overlap

    def __getitem__(self, key: tuple[int, float]) -> tuple[Tensor, Tensor]:
        """Scene `index` of `seconds`: waveform (samples,) and targets (frames, labels) in {-1, 0, 1} as int8."""
        scene = self.mixer.scene(*key)
        return torch.from_numpy(scene.waveform), torch.from_numpy(self.targets(scene))

    def targets(self, scene: Scene) -> np.ndarray:
        """See `scene_targets`."""
        return scene_targets(scene, self.labels, self.overlap)


def scene_targets(scene: Scene, columns: Mapping[str, int], overlap: np.ndarray) -> np.ndarray:
    """Targets of every label: heard, not heard, or unknown (drowned out, or a label that may mean the same).

    Args:
        scene: labels of it that have no column do not count.
        columns: label -> its column.
        overlap: (labels, labels) bool, labels that may not be negatives of each other.

    Returns:
        (frames, labels) int8 in {-1, 0, 1}.
    """
    active = np.zeros((len(scene.states), len(columns)), dtype=bool)
    unknown = np.zeros_like(active)
    for source, label in enumerate(scene.labels):
        if label not in columns:
            continue
        column = columns[label]
        state = scene.states[:, source, None]
        active[:, column] |= state[:, 0] == ACTIVE
        unknown[:, column] |= state[:, 0] == UNKNOWN
        unknown |= (state != INACTIVE) & overlap[column]
    targets = np.where(active, ACTIVE, np.where(unknown, UNKNOWN, INACTIVE))
    return targets.astype(np.int8)


class SceneSampler(Sampler[list[tuple[int, float]]]):
    """Batches of (scene index, seconds): every batch has one duration and about the same seconds in all."""

    def __init__(
        self, seed: int, first: int, last: int, durations: tuple[float, ...], seconds: float
    ) -> None:
        self.seed, self.first, self.last = seed, first, last
        self.durations, self.seconds = durations, seconds

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, float]]]:
        for step in range(self.first, self.last):
            duration = float(np.random.default_rng((self.seed, step)).choice(self.durations))
            yield [(step * 1000 + i, duration) for i in range(max(1, round(self.seconds / duration)))]


def scene_loader(
    dataset: SceneDataset, sampler: SceneSampler, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of (waveform (batch, samples), targets (batch, frames, labels)), mixed by `workers` processes."""
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, prefetch_factor=4 if workers else None
    )
