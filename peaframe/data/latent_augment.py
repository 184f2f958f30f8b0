"""Augmentation of latents, labels following: mixup, and masks in time and in channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import frames_of_seconds
from peaframe.errors import OptionError

Rows = NDArray[np.float32]
Targets = NDArray[Any]


@dataclass(frozen=True)
class LatentAugment:
    """What happens to items; nothing unless it is asked for.

    Attributes:
        mixup: probability that another item is mixed into one.
        mixup_share: range of the other's share. A mean of latents is not the latent of a mix, but near enough to
            learn from; shares near a half keep both audible.
        time_masks: how many stretches of an item are blotted out.
        time_seconds: the longest of them; none is longer than half an item.
        channel_mask: up to this share of the channels is blotted out.

    Raises:
        OptionError: a probability or share is not in [0, 1], or a count or length is negative.
    """

    mixup: float = 0.0
    mixup_share: tuple[float, float] = (0.3, 0.5)
    time_masks: int = 0
    time_seconds: float = 0.4
    channel_mask: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.mixup_share
        if not (0 <= self.mixup <= 1 and 0 <= low <= high <= 1 and 0 <= self.channel_mask <= 1):
            raise OptionError(
                f"got mixup {self.mixup}, mixup_share {self.mixup_share}, channel_mask {self.channel_mask}, "
                "expected numbers in [0, 1]"
            )
        if self.time_masks < 0 or not self.time_seconds >= 0:
            raise OptionError(
                f"got {self.time_masks} time masks of {self.time_seconds} s, expected 0 or more of both"
            )


def mix(
    one: tuple[Rows, Targets], other: tuple[Rows, Targets], share: float, rng: np.random.Generator
) -> tuple[Rows, Targets]:
    """Mix `other` into `one`; what is longer is not mixed all over, where is drawn.

    Args:
        one: latents (frames, channels) and targets (frames, labels).
        other: the same of another item.
        share: weight of the other's latents.
        rng: draws where.

    Returns:
        Latents and targets of the shape of `one`. Targets are the greater of both: heard if heard in either, unknown
        if unknown in one and not heard in the other.
    """
    (rows, targets), (more, theirs) = one, other
    frames = min(len(rows), len(more))
    at = int(rng.integers(len(rows) - frames + 1))
    their = int(rng.integers(len(more) - frames + 1))
    rows, targets = rows.copy(), targets.copy()
    here, there = slice(at, at + frames), slice(their, their + frames)
    rows[here] = np.float32(1 - share) * rows[here] + np.float32(share) * more[there]
    targets[here] = np.maximum(targets[here], theirs[there])
    return rows, targets


def blot(rows: Rows, augment: LatentAugment, rng: np.random.Generator) -> tuple[Rows, NDArray[np.bool_]]:
    """Replace stretches of time and some channels by the item's mean.

    Args:
        rows: (frames, channels).
        augment: how many.
        rng: draws which.

    Returns:
        Latents of the same shape, and (frames,) true where time was not blotted out.
    """
    kept = np.ones(len(rows), dtype=bool)
    mean = rows.mean(axis=0, dtype=np.float32)
    longest = min(frames_of_seconds(augment.time_seconds), len(rows) // 2)
    if longest:
        for _ in range(augment.time_masks):
            length = int(rng.integers(1, longest + 1))
            begin = int(rng.integers(len(rows) - length + 1))
            kept[begin : begin + length] = False
    most = int(augment.channel_mask * rows.shape[1])
    channels = rng.permutation(rows.shape[1])[: int(rng.integers(most + 1))]
    rows = np.where(kept[:, None], rows, mean)
    rows[:, channels] = mean[channels]
    return rows, kept
