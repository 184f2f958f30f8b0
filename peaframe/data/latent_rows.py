"""The latents of a recording, or of a part of it, and what they are of.

Latents are the rows that stand still in fine-tuning: what the codec of PE-A-Frame gives, or the convolutions of
peaframe-mini.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from peaframe import audio
from peaframe.audio.source import Samples
from peaframe.clock import HOP_SAMPLES, frame_count, samples_of_seconds, seconds_of_samples
from peaframe.data.latent_shards import Latents
from peaframe.errors import ModelError, OptionError
from peaframe.models.frame import FrameModel

_BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class AudioPart:
    """A recording or a part of it.

    Attributes:
        path: the recording.
        start: where it begins, in seconds.
        duration: how long it is, in seconds; None for all that follows.

    Raises:
        OptionError: the start lies before 0, or the duration is no positive length.
    """

    path: str | os.PathLike[str]
    start: float = 0.0
    duration: float | None = None

    def __post_init__(self) -> None:
        length = 1.0 if self.duration is None else self.duration
        if not (math.isfinite(self.start) and self.start >= 0 and math.isfinite(length) and length > 0):
            raise OptionError(
                f"{self.path}: got a part of {self.duration} s from {self.start} s on, expected a start of 0 s or "
                "later and a positive duration"
            )


def front_fingerprint(model: FrameModel) -> str:
    """Thirty-two hex digits: a hash of the sizes of what stands still in fine-tuning, and of its weights as float32."""
    return fingerprint(*model.still_part())


def fingerprint(sizes: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Thirty-two hex digits: a hash of sizes, as text, and of weights as float32."""
    digest = hashlib.sha256(sizes.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def latent_blocks(model: FrameModel, part: AudioPart) -> Iterator[Latents]:
    """The latents of a part, float16 (frames, channels), block by block in bounded memory.

    What lies around the part is heard, too, as far as its latents depend on it: those of a part that starts on the
    frame grid are those of the whole recording. One that ends inside a frame is continued as the model does it.

    Raises:
        AudioError: the recording cannot be read, or the part does not lie in it.
        ModelError: a latent is beyond float16.
    """
    first = samples_of_seconds(part.start)
    before = first // HOP_SAMPLES
    lead = min(model.feature_lead + (before - model.feature_lead) % model.feature_grid, before)
    left, stop = None, None
    if part.duration is not None:
        left = frame_count(samples_of_seconds(part.duration))
        end = part.start + part.duration
        later = seconds_of_samples(first + (left + model.feature_lead) * HOP_SAMPLES)
        stop = max(end, min(later, audio.probe(part.path).duration))
    begin = seconds_of_samples(first - lead * HOP_SAMPLES)
    blocks = audio.blocks(part.path, _BLOCK_SECONDS, begin, stop)
    for rows in _through(model, blocks):
        own = rows[lead:][:left]
        lead = max(0, lead - len(rows))
        left = None if left is None else left - len(own)
        if not np.isfinite(own).all():
            raise ModelError(f"{part.path}: has a latent beyond the range of float16; check the model")
        if len(own):
            yield own


def _through(model: FrameModel, blocks: Iterator[Samples]) -> Iterator[Latents]:
    stream = model.open_features()
    for block in blocks:
        yield stream.push(torch.from_numpy(block)).half().cpu().numpy()
    yield stream.finish().half().cpu().numpy()
