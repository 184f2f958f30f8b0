"""Recordings of any length through the codec, piece by piece, with the result of one pass."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from peaframe.codec.dac_vae import Codec

CHUNK_SECONDS = 4.0
BLOCK_FRAMES = 25  # latents' worth of samples that are encoded together


class Pieces(Protocol):
    """Whole hops of samples (samples,) in, the latents (frames, latent) that they complete out."""

    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples."""
        ...

    def finish(self) -> Tensor:
        """The latents still to come."""
        ...


class ChunkStream:
    """Pieces for any device and type: chunks that are encoded with as much context as makes them exact."""

    def __init__(
        self, codec: Codec, chunk_seconds: float = CHUNK_SECONDS, products: torch.dtype = torch.float32
    ) -> None:
        """Prepare.

        Args:
            codec: what encodes.
            chunk_seconds: how much is encoded at a time, apart from its context.
            products: type of the products; float32 stands for the type of the weights.
        """
        self._codec, self._products = codec, products
        self._chunk = max(1, round(chunk_seconds * codec.config.sample_rate / codec.config.hop))
        self._kept = codec.mean.weight.new_zeros(0)
        self._left = 0  # frames of context that `_kept` begins with

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples."""
        self._kept = torch.cat((self._kept, samples))
        parts = []
        while self._frames() >= self._left + self._chunk + self._codec.context:
            parts.append(self._next(self._chunk))
        return torch.cat(parts) if parts else self._none()

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The latents still to come."""
        remaining = self._frames() - self._left
        return self._next(remaining) if remaining else self._none()

    def _frames(self) -> int:
        return len(self._kept) // self._codec.config.hop

    def _none(self) -> Tensor:
        return self._kept.new_zeros(0, self._codec.config.latent)

    def _next(self, frames: int) -> Tensor:
        hop, context = self._codec.config.hop, self._codec.context
        end = self._left + frames
        half = self._products != torch.float32
        with torch.autocast(self._kept.device.type, self._products if half else None, enabled=half):
            whole: Tensor = self._codec(self._kept[None, : (end + context) * hop])
        latents = whole[0, self._left : end].to(self._kept.dtype)
        drop = max(0, end - context)
        self._kept, self._left = self._kept[drop * hop :], end - drop
        return latents


class LatentStream:
    """A recording on its way to latents, in portions of any length; its end is reflected up to a whole hop."""

    def __init__(self, pieces: Pieces, codec: Codec) -> None:
        """Take what encodes whole hops with `codec`."""
        self._pieces, self._config = pieces, codec.config
        self._waiting = codec.mean.weight.new_zeros(0)  # samples that make no block yet
        self._tail = self._waiting  # the last samples, a hop of them

    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples (samples,) and give the latents (frames, latent) that are ready."""
        block = BLOCK_FRAMES * self._config.hop
        samples = samples.to(self._waiting)
        self._tail = torch.cat((self._tail, samples))[-self._config.hop :]
        waiting = torch.cat((self._waiting, samples))
        whole = len(waiting) // block * block
        self._waiting = waiting[whole:]
        parts = [self._pieces.push(part) for part in torch.split(waiting[:whole], block) if whole]
        return torch.cat(parts) if parts else waiting.new_zeros(0, self._config.latent)

    def finish(self) -> Tensor:
        """The latents still to come; a clip too short to be reflected far enough is filled up with silence."""
        missing = -len(self._waiting) % self._config.hop
        mode = "reflect" if missing < len(self._tail) else "constant"
        end = F.pad(self._tail[None], (0, missing), mode=mode)[0, len(self._tail) :]
        last = self._pieces.push(torch.cat((self._waiting, end)))
        return torch.cat((last, self._pieces.finish()))


def encode(stream: LatentStream, samples: Tensor) -> Tensor:
    """One whole clip, (samples,), through a fresh stream: (frames, latent)."""
    return torch.cat((stream.push(samples), stream.finish()))
