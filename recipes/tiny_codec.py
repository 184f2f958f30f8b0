"""Make the tiny PE-AV's codec: its layers set by hand to a bank of filters, the last to read log-mel bands from them.

    python -m peaframe.recipes.tiny_codec SOUNDBANK [--out peaframe/models/tiny/model.safetensors]

Nobody publishes a DAC-VAE small enough to try a whole pre-training on a processor, and in the latents of a random one
hardly anything can be told apart. This one has the same layers in small, and nothing in it was trained by gradients:
strided convolutions are windowed cosines (short ones for high bands, long ones for low bands), one residual unit makes
`sin(g x)^2` of what they give, at three gains g, which tells loud from quiet over 60 dB, and the next convolution takes
its mean. The last two layers are solved by ridge regression, so that the 64 latents of a frame are as nearly as they
can be 64 bands from 125 to 7500 Hz, each of mean 0 and deviation 1 over the sounds. No label is used. It is ours and
stands for nothing published.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from peaframe import audio
from peaframe.clock import HOP_SAMPLES
from peaframe.codec.dac_vae import Codec, EncoderBlock, Snake
from peaframe.data.soundbank import read_manifest
from peaframe.models.checkpoint import write_tensors
from peaframe.models.frontend import DECIMATION, SPECTRA_PER_FRAME, LogMel, decimator
from peaframe.models.pretraining import TINY, av_config
from peaframe.recipes import program

_FRAMES = 25  # of a crop
_QUIETEST = -40.0  # dB that a crop is turned down by at most
_HIGH = (1800.0, 2500.0, 3300.0, 4300.0, 5600.0, 7200.0, 9500.0, 13000.0)  # Hz, filters of 32 samples
_LOW = (
    60.0,
    140.0,
    230.0,
    330.0,
    430.0,
    540.0,
    660.0,
    790.0,
    920.0,
    1060.0,
    1210.0,
    1370.0,
    1500.0,
)  # of 7 ms
_GAINS = (20.0, 200.0, 2000.0)
_STRAIGHT, _BENT = 1e-3, 2.0  # alphas of snakes that leave what comes as it is, or bend it once more
_RIDGE = 1e-2


def bands(waveform: Tensor) -> Tensor:
    """Log-mel bands of each frame of sound at 48 kHz: (batch, hop * n) to (batch, n, 64)."""
    filters = decimator()
    low = F.conv1d(waveform[:, None], filters, stride=DECIMATION, padding=filters.shape[-1] // 2)[:, 0]
    out: Tensor = LogMel()(low).unflatten(1, (-1, SPECTRA_PER_FRAME)).mean(dim=2)
    return out


def crops(sounds: Sequence[Tensor], count: int, random: np.random.Generator) -> Tensor:
    """Parts of sounds, every other one with a second sound in it, at many levels: (count, samples)."""
    length = _FRAMES * HOP_SAMPLES
    out = torch.zeros(count, length)
    for i, row in enumerate(out):
        for _ in range(1 + i % 2):
            sound = sounds[int(random.integers(len(sounds)))]
            begin = int(random.integers(-length // 2, max(1, len(sound) - length // 2)))
            part = sound[max(0, begin) : max(0, begin + length)]
            row[max(0, -begin) :][: len(part)] += part * 10 ** (random.uniform(_QUIETEST, 0) / 20)
        row += torch.from_numpy(random.standard_normal(length).astype(np.float32)) * 10 ** random.uniform(
            -5, -2.5
        )
    return out


def _cosine(hertz: float, rate: float, taps: int) -> Tensor:
    """A windowed cosine that gives a tone of its frequency back with its amplitude."""
    window = torch.hann_window(taps + 1)[1:]
    wave = window * torch.cos(2 * torch.pi * hertz / rate * torch.arange(taps))
    return wave / window.sum() * (1 if hertz == 0 else 2)


@torch.no_grad()
def filter_bank() -> Codec:
    """A codec of the tiny size whose blocks tell how loud each band is; its last two layers are not set."""
    codec = Codec(av_config(TINY).audio.codec).eval()
    for layer in codec.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.zeros_(layer.weight)
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)))
        if isinstance(layer, Snake):
            layer.alpha.fill_(_STRAIGHT)
    encoder = codec.encoder
    blocks = [block for block in encoder.block if isinstance(block, EncoderBlock)]
    halves, short, long, mean = (block.conv1.weight for block in blocks)
    encoder.conv1.weight[0, 0, 3] = 1  # samples as they are
    halves[0, 0, 1] = halves[1, 0, 2] = 1  # even and odd ones
    for band, hertz in enumerate((0.0, *_HIGH)):
        short[band, :2] = _cosine(hertz, 48_000, 32).view(16, 2).T
    bank = [(0, _cosine(hertz, 3_000, 20)) for hertz in _LOW]
    bank += [(1 + band, F.one_hot(torch.tensor(10), 20).float()) for band in range(len(_HIGH))]
    unit = blocks[3].res_unit1
    unit.snake2.alpha.fill_(1.0)
    for channel, (gain, (band, taps)) in enumerate(itertools.product(_GAINS, bank)):
        long[channel, band] = taps
        unit.conv1.weight[channel, channel, 3] = gain
        unit.conv2.weight[channel, channel, 0] = -1 / gain  # x - (g x + sin(g x)^2) / g = -sin(g x)^2 / g
        for copy in (0, 64):
            mean[copy + channel, channel] = -gain * _cosine(0.0, 1, 24)
    encoder.snake1.alpha[:, 64:] = _BENT
    return codec


@torch.no_grad()
def read_out(codec: Codec, waves: Tensor, wanted: Tensor) -> None:
    """Set the last two layers so that they give what is wanted as nearly as a linear map can.

    Args:
        codec: changed in place; its other layers stay.
        waves: (batch, samples).
        wanted: (batch, frames, latents).
    """
    encoder = codec.encoder
    parts = []
    for part in torch.split(waves, 16):
        x = encoder.conv1(part[:, None])
        for block in encoder.block:
            x = block(x)
        parts.append(F.pad(encoder.snake1(x), (1, 1)).unfold(-1, 3, 1).movedim(2, 1).flatten(0, 1))
    x = torch.cat(parts).flatten(1).double()  # (frames, channels * taps)
    y = wanted.flatten(0, 1).double()
    mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-9
    x = (x - mean) / deviation
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    solved = torch.linalg.solve(x.T @ x + ridge, x.T @ (y - y.mean(dim=0))) / deviation[:, None]
    latents = y.shape[1]
    for layer in (encoder.conv2, codec.mean):
        nn.init.zeros_(layer.weight)
    encoder.conv2.weight[:latents] = solved.T.float().unflatten(1, (-1, 3))
    codec.mean.weight[:, :latents, 0] = torch.eye(latents)
    encoder.conv2.bias = nn.Parameter(torch.zeros(len(encoder.conv2.weight)))
    codec.mean.bias = nn.Parameter((y.mean(dim=0) - mean @ solved).float())


@torch.no_grad()
def explained(codec: Codec, sounds: Sequence[Tensor], seed: int) -> float:
    """Share of the variance of bands, the mean over bands, that latents tell by a straight line each, from 0 to 1."""
    waves = crops(sounds, 64, np.random.default_rng(seed))
    told, wanted = (x.flatten(0, 1).double() for x in (codec(waves), bands(waves)))
    told, wanted = told - told.mean(dim=0), wanted - wanted.mean(dim=0)
    along = (told * wanted).sum(dim=0).square() / (told.square().sum(dim=0) * wanted.square().sum(dim=0))
    return float(along.mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, solve, measure, write."""
    parser = program.parser(__doc__)
    parser.add_argument("soundbank", type=Path, help="folder of labelled sounds with a manifest.csv")
    out = Path("peaframe/models/tiny/model.safetensors")
    parser.add_argument("--out", type=Path, default=out, help="default: %(default)s")
    parser.add_argument("--crops", type=int, default=600, help="of a second; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(arguments)
    sounds: dict[str, list[Tensor]] = {"train": [], "valid": []}
    for clip in tqdm(read_manifest(args.soundbank), disable=not sys.stderr.isatty(), unit="clip"):
        sounds[clip.split].append(torch.from_numpy(audio.read(clip.path)))
    waves = crops(sounds["train"], args.crops, np.random.default_rng(args.seed))
    wanted = bands(waves)
    codec = filter_bank()
    read_out(codec, waves, (wanted - wanted.mean(dim=(0, 1))) / wanted.std(dim=(0, 1)))
    told = explained(codec, sounds["valid"], args.seed)
    print(f"bands of sounds that it was not solved on: {told:.3f} of their variance")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(args.out, {name: tensor.half().contiguous() for name, tensor in codec.state_dict().items()})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    program.run(main)
