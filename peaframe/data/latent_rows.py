"""The latents of a recording, or of a part of it, and which codec they are of."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from peaframe import audio
from peaframe.audio.source import Samples
from peaframe.clock import HOP_SAMPLES, frame_count, samples_of_seconds, seconds_of_samples
from peaframe.codec.dac_vae import Codec
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


def codec_of(model: FrameModel) -> Codec:
    """The codec of a model. Raises ModelError if it has none, as peaframe-mini."""
    for module in model.modules():
        if isinstance(module, Codec):
            return module
    raise ModelError(
        f"{model.name or type(model).__name__}: has no codec, so it has no latents and there is nothing to cache; "
        "use a PE-A-Frame model, or train on sound"
    )


def codec_fingerprint(codec: Codec) -> str:
    """Thirty-two hex digits: a hash of the codec's sizes and of all its weights, as float32."""
    digest = hashlib.sha256(json.dumps(asdict(codec.config), sort_keys=True).encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def latent_blocks(model: FrameModel, part: AudioPart) -> Iterator[Latents]:
    """The latents of a part, float16 (frames, channels), block by block in bounded memory.

    The codec hears what lies around the part, too, as far as its latents depend on it: those of a part that starts on
    the frame grid are those of the whole recording. One that ends inside a frame is continued by its reflection.

    Raises:
        AudioError: the recording cannot be read, or the part does not lie in it.
        ModelError: the model has no codec, or a latent is beyond float16.
    """
    codec_of(model)
    first = samples_of_seconds(part.start)
    lead = min(model.lead_frames, first // HOP_SAMPLES)
    left, stop = None, None
    if part.duration is not None:
        left = frame_count(samples_of_seconds(part.duration))
        end = part.start + part.duration
        later = seconds_of_samples(first + (left + model.lead_frames) * HOP_SAMPLES)
        stop = max(end, min(later, audio.probe(part.path).duration))
    begin = seconds_of_samples(first - lead * HOP_SAMPLES)
    blocks = audio.blocks(part.path, _BLOCK_SECONDS, begin, stop)
    for rows in _through(model, blocks):
        own = rows[lead:][:left]
        lead = max(0, lead - len(rows))
        left = None if left is None else left - len(own)
        if not np.isfinite(own).all():
            raise ModelError(
                f"{part.path}: has a latent beyond the range of float16; check the model's codec"
            )
        if len(own):
            yield own


def _through(model: FrameModel, blocks: Iterator[Samples]) -> Iterator[Latents]:
    stream = model.open_stream()
    for block in blocks:
        yield stream.push(torch.from_numpy(block)).half().cpu().numpy()
    yield stream.finish().half().cpu().numpy()
