"""peaframe-mini's audio front end: waveform -> one feature vector per 40 ms.

A log-mel spectrogram at 16 kHz goes through a MobileNet-v1 (the layout of YAMNet, Google, Apache-2.0, whose
published weights training starts from). Its layers run at 25, 12.5 and 6.25 frames a second; feature maps of
several depths are interpolated to the 25 Hz grid and joined: the deep ones know AudioSet's classes, the middle ones
carry more of what tells other sounds apart, the shallow ones when something happens. Each channel goes on as its
value in the frame and as its mean and standard deviation over the time around it, standardised.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.clock import HOP_SAMPLES

RATE = 16_000
HOP = 160  # samples of 16 kHz: 100 spectra a second, 4 a frame
WINDOW = 400
FFT = 512
BANDS = 64
SPECTRA_PER_FRAME = 4
DECIMATION = 3

WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_LAST_STRIDE = 11  # index of the block whose time stride is replaced by dilation, for 6.25 Hz deep features
TAPS = (2, 4, 8, 10, 12)  # blocks whose maps are used
CHANNELS = BANDS * SPECTRA_PER_FRAME + sum(WIDTHS[i] for i in TAPS)
_LIMIT = 10.0  # a standardised value is held within this many deviations


@dataclass(frozen=True)
class FrontEndConfig:
    """Sizes of the front end.

    Attributes:
        width: channels of the feature vectors it gives.
        dropout: share of the channels left out in training, the same ones in all frames of a scene.
        around: odd numbers of frames that means and deviations are taken over, a pair for each.
    """

    width: int
    dropout: float = 0.0
    around: tuple[int, ...] = (25,)

    @property
    def channels(self) -> int:
        """Channels of what goes into the last linear layer."""
        return CHANNELS * (1 + 2 * len(self.around))


def decimator() -> Tensor:
    """Low-pass filter for 48 kHz -> 16 kHz: a Kaiser-windowed sinc (beta 8) of 193 taps, shape (1, 1, 193)."""
    half = 32 * DECIMATION
    n = torch.arange(-half, half + 1, dtype=torch.float64)
    cutoff = 0.94 / DECIMATION
    taps = torch.sinc(n * cutoff) * torch.kaiser_window(2 * half + 1, False, 8.0, dtype=torch.float64)
    return (taps / taps.sum()).float()[None, None]


def mel_filters() -> Tensor:
    """Triangles of height 1, evenly spaced on the HTK mel scale from 125 to 7500 Hz: (64, 257), bin 0 left out."""
    hertz = torch.arange(FFT // 2 + 1, dtype=torch.float64) * RATE / FFT
    bins = 1127 * torch.log1p(hertz / 700)
    low, high = (1127 * math.log1p(edge / 700) for edge in (125.0, 7500.0))
    # The device is said: once transformers has loaded a model, torch's context of a device leaves linspace out.
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64, device=hertz.device)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0)
    filters[:, 0] = 0
    return filters.float()


class LogMel(nn.Module):
    """Log-mel spectrogram: 64 bands from 125 to 7500 Hz, 100 spectra a second, `log(mel + 0.001)`."""

    mel: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Map 16 kHz samples (batch, 160 n) to (batch, n, 64); spectrum i is centred on its 160 samples."""
        side = (WINDOW - HOP) // 2
        windows = F.pad(waveform, (side, side)).unfold(-1, WINDOW, HOP)
        with torch.autocast(waveform.device.type, enabled=False):  # bfloat16 would round away 1% of each band
            spectra = torch.fft.rfft(windows * self.window, n=FFT).abs()
            return torch.log(spectra @ self.mel.T + 1e-3)


def to_frame_grid(x: Tensor, frames: int, step: int, centre: int) -> Tensor:
    """Interpolate linearly from a coarser grid to the 25 Hz frames.

    Args:
        x: (batch, time, channels), entry n centred on spectrum `step * n + centre`.
        frames: how many 40 ms frames to give.
        step: spectra between entries.
        centre: the spectrum that entry 0 is centred on.

    Returns:
        (batch, frames, channels); beyond the first and last entry the edge value holds.
    """
    at = torch.arange(frames, device=x.device, dtype=torch.float32) * SPECTRA_PER_FRAME
    at = ((at + (SPECTRA_PER_FRAME - 1) / 2 - centre) / step).clamp(0, x.shape[1] - 1)
    left = at.floor().long()
    right = (left + 1).clamp(max=x.shape[1] - 1)
    share = (at - left)[None, :, None].to(x.dtype)
    return x[:, left] * (1 - share) + x[:, right] * share


class Standardize(nn.Module):
    """Shift and scale every channel to mean 0 and deviation 1 over the training data, and cut off what is far out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def fit(self, parts: Iterable[Tensor]) -> None:
        """Take mean and deviation from feature vectors, in parts of shape (frames, channels)."""
        count, total, squares = 0, torch.zeros_like(self.mean).double(), torch.zeros_like(self.mean).double()
        for part in parts:
            count += len(part)
            total += part.double().sum(dim=0)
            squares += part.double().square().sum(dim=0)
        mean = total / max(count, 1)
        self.mean.copy_(mean)
        self.deviation.copy_((squares / max(count, 1) - mean.square()).clamp(min=1e-6).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., channels) to the same shape."""
        scale = 1 / self.deviation
        return torch.addcmul(-self.mean * scale, x, scale).clamp(-_LIMIT, _LIMIT)


def with_surroundings(x: Tensor, around: tuple[int, ...]) -> Tensor:
    """Join to every frame its channels' mean and standard deviation over the frames around it.

    Args:
        x: (batch, frames, channels) float32.
        around: odd numbers of frames, each giving a mean and a deviation.

    Returns:
        (batch, frames, channels * (1 + 2 * len(around))); at the ends, only frames that exist count.
    """
    at = torch.arange(x.shape[1], device=x.device)
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would leave nothing of a small deviation
        centre = x.mean(dim=1, keepdim=True)  # taken off first, so that little is lost to rounding
        moved = x - centre
        squares = moved.square()
        out = [x]
        for length in around:
            near = ((at[:, None] - at).abs() <= length // 2).to(x.dtype)
            near /= near.sum(dim=1, keepdim=True)
            mean = near @ moved
            out += [mean + centre, (near @ squares - mean.square()).clamp(min=1e-8).sqrt()]
        return torch.cat(out, dim=2)


class ConvFrontEnd(nn.Module):
    """Log-mel, MobileNet blocks, their maps joined on the frame grid."""

    lowpass: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("lowpass", decimator(), persistent=False)
        self.log_mel = LogMel()
        self.conv1 = nn.Conv2d(1, 32, 3, stride=2)
        inputs = (32, *WIDTHS[:-1])
        self.depthwise = nn.ModuleList(nn.Conv2d(c, c, 3, groups=c) for c in inputs)
        self.pointwise = nn.ModuleList(nn.Conv2d(c, d, 1) for c, d in zip(inputs, WIDTHS, strict=True))
        self.standardize = Standardize(config.channels)
        self.dropout = nn.Dropout1d(config.dropout)
        self.merge = nn.Linear(config.channels, config.width)
        self._held = False

    def hold(self, held: bool) -> None:
        """Keep the convolutions out of the gradient (true) or let them learn (false)."""
        self._held = held

    def decimate(self, waveform: Tensor) -> Tensor:
        """Resample (batch, samples) from 48 kHz to 16 kHz: (batch, ceil(samples / 3))."""
        side = self.lowpass.shape[-1] // 2
        return F.conv1d(F.pad(waveform, (side, side))[:, None], self.lowpass, stride=DECIMATION)[:, 0]

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Features of 16 kHz audio.

        Args:
            waveform: (batch, samples) at 16 kHz; behind the end counts as silence up to a whole frame.

        Returns:
            The features (batch, ceil(samples / 640), width) and the deepest map on the same grid
            (batch, frames, 1024).
        """
        hop = HOP * SPECTRA_PER_FRAME
        frames = math.ceil(waveform.shape[-1] / hop)
        mel = self.log_mel(F.pad(waveform, (0, frames * hop - waveform.shape[-1])))
        return self.from_log_mel(mel)

    def from_log_mel(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """The same from a log-mel spectrogram (batch, 4 frames, 64)."""
        features, deep = self.features(mel)
        return self.project(features), deep

    def project(self, features: Tensor) -> Tensor:
        """Map what `features` gives, (batch, frames, config.channels), to (batch, frames, width)."""
        kept = self.dropout(self.standardize(features).transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.merge(kept)
        return out

    def features(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """What the maps hold, frame by frame, from a log-mel spectrogram (batch, 4 frames, 64).

        Returns:
            The joined maps with their surroundings (batch, frames, config.channels) and the deepest map (batch,
            frames, 1024), float32.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._held):
            joined = self.joined(mel)
            return self.surround(joined), joined[..., -WIDTHS[-1] :]

    def joined(self, mel: Tensor) -> Tensor:
        """The log-mel spectrogram (batch, 4 frames, 64) and the maps on the frame grid: (batch, frames, CHANNELS)."""
        frames = mel.shape[1] // SPECTRA_PER_FRAME
        maps = [
            to_frame_grid(x.float().mean(dim=3).transpose(1, 2), frames, step, centre)
            for step, centre, x in self.maps(mel)
        ]
        return torch.cat((mel.reshape(mel.shape[0], frames, -1), *maps), dim=-1)

    def surround(self, joined: Tensor) -> Tensor:
        """Add the surroundings to what `joined` gives: (batch, frames, config.channels)."""
        return with_surroundings(joined.float(), self.config.around)

    def maps(self, mel: Tensor, taps: Collection[int] = TAPS) -> list[tuple[int, int, Tensor]]:
        """Run the blocks, as far as the last tap.

        Args:
            mel: log-mel spectrogram (batch, spectra, 64).
            taps: numbers of the blocks whose maps are wanted.

        Returns:
            For each tap: spectra between entries, centre of entry 0, map (batch, channels, entries, mel rows).
        """
        x = mel[:, None].contiguous(memory_format=torch.channels_last)
        x = F.relu(F.conv2d(F.pad(x, (0, 1, 0, 1)), self.conv1.weight, self.conv1.bias, stride=2))
        step, centre, dilation = 2, 1, 1
        found = []
        for i, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True)):
            stride = STRIDES[i]
            time_stride = 1 if i == _LAST_STRIDE else stride
            if stride == 2:  # SAME padding of the published network: at the end only
                odd = x.shape[2] % 2
                x = F.pad(x, (0, 1, 0, 1 + odd if time_stride == 2 else 2))
                x = _depthwise(x, depthwise, (time_stride, 2), (0, 0), 1)
                centre += step
                step *= time_stride
                dilation = 2 if i == _LAST_STRIDE else dilation
            else:
                x = _depthwise(x, depthwise, (1, 1), (dilation, 1), dilation)
            x = F.relu(pointwise(F.relu(x)))
            if i in taps:
                found.append((step, centre, x))
            if i == max(taps):
                break
        return found


def _depthwise(
    x: Tensor, conv: nn.Module, stride: tuple[int, int], padding: tuple[int, int], dilation: int
) -> Tensor:
    """Run a depthwise layer's weights with another stride, padding and time dilation."""
    assert isinstance(conv, nn.Conv2d)
    return F.conv2d(x, conv.weight, conv.bias, stride, padding, (dilation, 1), conv.groups)


class MapStream:
    """A recording on its way through the convolutions, as rows that hold their maps: what fine-tuning starts from.

    Pieces are heard with so much of what lies around them that their rows are those of the whole recording.
    """

    GRID = 4  # frames that the coarsest map steps by
    PIECE = 1500  # frames; a multiple of GRID, as CONTEXT is
    CONTEXT = 60  # frames: 2.4 s, where the last block sees 1.6 s each side and is interpolated over 0.16 s
    SHORTEST = 24  # frames: what is shorter is heard with silence behind it

    def __init__(self, front: ConvFrontEnd) -> None:
        self._front = front
        self._waiting = torch.zeros(0)
        self._led = 0  # frames in front of `_waiting` that have been given

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tensor:
        """Hear the next samples (samples,) at 48 kHz and give the rows (frames, CHANNELS) that are ready."""
        self._waiting = torch.cat((self._waiting.to(samples.device), samples.float()))
        parts = [self._front.log_mel.mel.new_zeros(0, CHANNELS)]
        while len(self._waiting) >= (self._led + self.PIECE + self.CONTEXT) * HOP_SAMPLES:
            heard = self._waiting[: (self._led + self.PIECE + self.CONTEXT) * HOP_SAMPLES]
            parts.append(self._rows(heard)[self._led : self._led + self.PIECE])
            keep = self._led + self.PIECE - self.CONTEXT
            self._waiting = self._waiting[keep * HOP_SAMPLES :].clone()
            self._led = self.CONTEXT
        return torch.cat(parts)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The rows still to come, a last frame that is not whole among them."""
        frames = -(-len(self._waiting) // HOP_SAMPLES)
        if frames == 0:
            return self._front.log_mel.mel.new_zeros(0, CHANNELS)
        length = max(frames, self.SHORTEST) * HOP_SAMPLES
        return self._rows(F.pad(self._waiting, (0, length - len(self._waiting))))[self._led : frames]

    def _rows(self, samples: Tensor) -> Tensor:
        samples = samples.to(self._front.log_mel.mel.device)[None]
        return self._front.joined(self._front.log_mel(self._front.decimate(samples)))[0]
