"""The encoder of DAC-VAE: 48 kHz waveform -> 25 latents a second.

A stack of strided convolutions with snake activations (DAC, Kumar et al. 2023, arXiv 2306.06546) and a linear
bottleneck of which PE models use the mean (`audio_codec.py` in `core/audio_visual_encoder` of
facebookresearch/perception_models).

Each latent depends on a short stretch of samples alone, so a long waveform can be encoded piece by piece with the
result of one pass (`peaframe.codec.encode`); memory then does not grow with its length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peaframe.errors import ModelError

_DILATIONS = (1, 3, 9)
_KERNEL = 7


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of the encoder.

    Attributes:
        width: channels behind the first convolution; each block doubles them.
        strides: downsampling of each block; their product is the hop, 1920 samples in every public checkpoint.
        hidden: channels behind the last convolution.
        latent: channels of a latent.
        sample_rate: samples a second of the waveform.
    """

    width: int = 64
    strides: tuple[int, ...] = (2, 8, 10, 12)
    hidden: int = 1024
    latent: int = 128
    sample_rate: int = 48_000

    @property
    def hop(self) -> int:
        """Samples between latents."""
        return math.prod(self.strides)


class Snake(nn.Module):
    """`x + sin(alpha x)^2 / alpha`, one alpha a channel (Ziyin et al. 2020, arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, time) to the same shape."""
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).square()


class ResidualUnit(nn.Module):
    """Snake, dilated convolution of width 7, snake, pointwise convolution, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake1 = Snake(channels)
        reach = (_KERNEL - 1) // 2 * dilation
        self.conv1 = nn.Conv1d(channels, channels, _KERNEL, dilation=dilation, padding=reach)
        self.snake2 = Snake(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, time) to the same shape."""
        out: Tensor = x + self.conv2(self.snake2(self.conv1(self.snake1(x))))
        return out


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = (ResidualUnit(channels, d) for d in _DILATIONS)
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(channels, 2 * channels, 2 * stride, stride, padding=math.ceil(stride / 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, time) to (batch, 2 * channels, time / stride)."""
        out: Tensor = self.conv1(self.snake1(self.res_unit3(self.res_unit2(self.res_unit1(x)))))
        return out


class Encoder(nn.Module):
    """The convolutions of the codec."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, config.width, _KERNEL, padding=_KERNEL // 2)
        widths = [config.width * 2**i for i in range(len(config.strides))]
        self.block = nn.ModuleList(EncoderBlock(w, s) for w, s in zip(widths, config.strides, strict=True))
        self.snake1 = Snake(2 * widths[-1])
        self.conv2 = nn.Conv1d(2 * widths[-1], config.hidden, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, samples) to (batch, hidden, frames)."""
        x = self.conv1(x)
        for block in self.block:
            x = block(x)
        out: Tensor = self.conv2(self.snake1(x))
        return out


class Codec(nn.Module):
    """Waveform -> latents, frozen.

    Attributes:
        config: its sizes.
        context: latents on each side that a chunk has to be heard with so that its own are exact.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.mean = nn.Conv1d(config.hidden, config.latent, 1)
        before, behind = receptive_field(config.strides)
        self.context = max(math.ceil(before / config.hop), math.ceil(behind / config.hop) - 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Encode whole clips in one pass.

        Args:
            waveform: (batch, samples), samples a multiple of the hop; silence is assumed on both sides.

        Returns:
            (batch, samples / hop, latent).
        """
        if waveform.ndim != 2 or waveform.shape[1] == 0 or waveform.shape[1] % self.config.hop:
            raise ModelError(
                f"got a waveform of shape {tuple(waveform.shape)}, expected (batch, samples) with samples "
                f"a multiple of {self.config.hop}"
            )
        out: Tensor = self.mean(self.encoder(waveform[:, None])).transpose(1, 2)
        return out


def receptive_field(strides: tuple[int, ...]) -> tuple[int, int]:
    """Samples that latent t depends on: [hop * t - before, hop * t + behind).

    Args:
        strides: of the blocks, first to last.

    Returns:
        `before` and `behind`.
    """
    first, last = -1, 1  # the last convolution, of width 3, seen from latent 0 in units of its input
    for stride in reversed(strides):
        padding = math.ceil(stride / 2)
        first, last = first * stride - padding, last * stride - padding + 2 * stride - 1
        reach = (_KERNEL - 1) // 2 * sum(_DILATIONS)
        first, last = first - reach, last + reach
    reach = _KERNEL // 2
    return -(first - reach), last + reach + 1
