"""What the two decoders have in common: facts about a recording, and its samples in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
LOUDEST = 100.0  # 40 dB over full scale; what is louder is in another unit


@dataclass(frozen=True)
class AudioInfo:
    """What a recording says about itself.

    Attributes:
        path: Where it is.
        duration: Its length in seconds, as its container claims; where it claims none, by counting packets.
        sample_rate: Samples a second as stored.
        channels: How many channels are stored.
        codec: How the samples are coded, such as `wav/pcm_16`, `flac/pcm_24`, `matroska/opus`.
    """

    path: Path
    duration: float
    sample_rate: int
    channels: int
    codec: str


@dataclass(frozen=True)
class Source:
    """A recording ready to be decoded.

    Attributes:
        info: Its facts.
        chunks: From the number of a stored sample, an iterator over the mean of the channels from that very
            sample on, float32 arrays (samples,) at the stored rate. It ends early where the data are damaged.
        slack: By how many seconds the claimed duration may honestly differ from what is decoded.
        whole: False where the file is known to be cut although nothing says how long it was.
    """

    info: AudioInfo
    chunks: Callable[[int], Iterator[Samples]]
    slack: float = 0.0
    whole: bool = True


def mix_down(channels: NDArray[np.floating]) -> Samples:
    """The mean of all channels: (samples, channels) -> (samples,) float32, computed in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        mono: Samples = channels.mean(axis=1, dtype=np.float32)
    return mono
