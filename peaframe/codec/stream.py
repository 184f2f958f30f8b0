"""DAC-VAE's encoder as a stream for CPUs: samples in, latents out, nothing computed twice, little memory.

The same numbers as `Codec.forward`, up to rounding, several times as quick:

- Every layer keeps the few rows that its next output still needs, so a recording of any length goes through in short
  blocks, and no context is encoded twice.
- Rows are times and columns are channels, so convolutions are matrix products, and a layer's work is cut into tiles
  that stay in the processor's cache from snake to snake.
- In float32, the convolutions of width 7 are Toom-Cook products (Winograd 1980; Lavin and Gray 2015, arXiv
  1509.09308): four outputs take 10 products instead of 28. The points, 0 and infinity and
  eight between, are ours, near those that a search for the least rounding found: ten times that of plain sums.
- In half precision, products are of that type, with float32 sums; snakes and residual sums stay in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.codec.dac_vae import Codec, EncoderBlock, ResidualUnit, Snake

OUTPUTS = 4  # of one Toom-Cook product
TAPS = 7
POINTS = tuple(Fraction(p) for p in ("0", "5/12", "-5/12", "4/5", "-4/5", "5/4", "-5/4", "12/5", "-12/5"))
TILE_VALUES = 4320 * 64  # rows times channels of a tile, for each thread


def toom_cook(outputs: int = OUTPUTS, taps: int = TAPS) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices A, G, B such that `A @ ((G @ g) * (B @ x))` is the correlation of x with the taps g.

    Args:
        outputs: how many outputs.
        taps: how many taps.

    Returns:
        A (outputs, n), G (n, taps), B (n, n) in float64, n = outputs + taps - 1; rows of B sum to 1 in magnitude.
    """
    n = outputs + taps - 1

    def powers(count: int) -> list[list[Fraction]]:
        return [[p**j for j in range(count)] for p in POINTS[: n - 1]] + [
            [Fraction(0)] * (count - 1) + [Fraction(1)]
        ]

    rows = [row + [Fraction(i == j) for j in range(n)] for i, row in enumerate(powers(n))]
    for i in range(n):  # Gauss-Jordan, exact
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(n):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    b = _tensor([row[n:] for row in rows]).T
    norms = b.abs().sum(dim=1, keepdim=True)
    return _tensor(powers(outputs)).T.contiguous(), _tensor(powers(taps)) * norms, (b / norms).contiguous()


def _tensor(rows: Sequence[Sequence[Fraction]]) -> Tensor:
    return torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)


class _Snake:
    """`x + sin(alpha x)^2 / alpha` on rows (time, channels), in place on its own copy of the sine."""

    def __init__(self, snake: Snake) -> None:
        self.alpha = snake.alpha.detach().flatten()
        self.inverse = (self.alpha + 1e-9).reciprocal()

    def __call__(self, x: Tensor) -> Tensor:
        wave = torch.mul(x, self.alpha).sin_()
        return torch.addcmul(x, wave.mul_(wave), self.inverse)

    def shifted_(self, x: Tensor, shift: Tensor) -> Tensor:
        """Map x to snake(x + shift) - shift, in place; `shift` is alpha times it."""
        wave = torch.addcmul(shift, x, self.alpha).sin_()
        return x.addcmul_(wave.mul_(wave), self.inverse)


class _ToomCook:
    """A dilated convolution of width 7 on rows, without bias, by Toom-Cook products; its rows come in its own order."""

    def __init__(self, conv: nn.Conv1d) -> None:
        a, g, b = toom_cook()
        weight = conv.weight.detach()
        self.dilation = conv.dilation[0]
        self.a, self.b = a.to(weight.dtype), b.to(weight.dtype)
        self.weight = torch.einsum("nk,oik->nio", g, weight.double()).to(weight.dtype).contiguous()
        self.group = OUTPUTS * self.dilation  # rows that belong together

    def __call__(self, x: Tensor) -> Tensor:
        d, (n, channels, _) = self.dilation, self.weight.shape
        groups = (len(x) - (TAPS - 1) * d) // self.group
        parts = x.as_strided((n, groups, d, channels), (d * channels, self.group * channels, channels, 1))
        products = torch.bmm((self.b @ parts.reshape(n, -1)).view(n, groups * d, channels), self.weight)
        return (self.a @ products.view(n, -1)).view(-1, channels)

    def add(self, x: Tensor, y: Tensor, out: Tensor) -> None:
        """Put the sum of rows x in the order of time and rows y in the product's order into out, as far as it goes."""
        shape = (-1, OUTPUTS, self.dilation, x.shape[1])
        ordered = y.view(OUTPUTS, -1, self.dilation, x.shape[1]).transpose(0, 1)
        if len(out) == len(x):
            torch.add(x.view(shape), ordered, out=out.view(shape))
        else:
            out.copy_((x.view(shape) + ordered).view(x.shape)[: len(out)])


class _Plain:
    """The same as an ordinary convolution in half precision, its rows in the order of time."""

    group = 1

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        weight = conv.weight.detach().to(dtype)[:, :, None]
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.dilation, self.dtype = conv.dilation[0], dtype

    def __call__(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.to(self.dtype).T[None, :, None], self.weight, dilation=(1, self.dilation))
        return y[0, :, 0].T.float()

    def add(self, x: Tensor, y: Tensor, out: Tensor) -> None:
        """Put the sum of x and y into out."""
        torch.add(x, y, out=out)


class _Residual:
    """A residual unit on rows, tile by tile."""

    def __init__(self, unit: ResidualUnit, dtype: torch.dtype) -> None:
        full = dtype == unit.conv1.weight.dtype
        self.snake1, self.snake2 = _Snake(unit.snake1), _Snake(unit.snake2)
        self.wide = _ToomCook(unit.conv1) if full else _Plain(unit.conv1, dtype)
        self.halo = (TAPS - 1) // 2 * unit.conv1.dilation[0]
        bias, weight = _detached(unit.conv1.bias), unit.conv2.weight.detach()[:, :, 0].T
        self.shift = bias * self.snake2.alpha
        self.bias = _detached(unit.conv2.bias) + bias @ weight
        self.weight = weight.to(dtype).contiguous()
        self.edge = self.halo
        self.channels = self.out_channels = len(weight)

    def reach(self, rows: int) -> tuple[int, int]:
        count = max(0, rows - 2 * self.halo)
        return count, count

    def __call__(self, x: Tensor, out: Tensor) -> None:
        most = TILE_VALUES * torch.get_num_threads() // self.channels
        size = max(1, most // self.wide.group) * self.wide.group
        for i in range(0, len(out), size):
            end = min(i + size, len(out))
            self._tile(x[i : end + 2 * self.halo], out[i:end])

    def _tile(self, x: Tensor, out: Tensor) -> None:
        if missing := -len(out) % self.wide.group:
            x = F.pad(x, (0, 0, 0, missing))
        y = self.snake2.shifted_(self.wide(self.snake1(x)), self.shift)
        y = _affine(self.bias, y, self.weight)
        self.wide.add(x[self.halo : len(x) - self.halo], y, out)


class _Down:
    """A snake and the strided convolution that ends a block, whose width is twice its stride."""

    def __init__(self, block: EncoderBlock, dtype: torch.dtype) -> None:
        conv = block.conv1
        self.snake, self.stride = _Snake(block.snake1), conv.stride[0]
        self.bias, self.channels, self.out_channels = (
            _detached(conv.bias),
            conv.in_channels,
            conv.out_channels,
        )
        weight = conv.weight.detach().permute(2, 1, 0).reshape(2, -1, conv.out_channels)
        self.first, self.second = weight.to(dtype).contiguous()
        self.edge = int(conv.padding[0])

    def reach(self, rows: int) -> tuple[int, int]:
        count = max(0, rows // self.stride - 1)
        return count, count * self.stride

    def __call__(self, x: Tensor, out: Tensor) -> None:
        rows = self.snake(x[: (len(out) + 1) * self.stride]).view(len(out) + 1, -1)
        _affine(self.bias, rows[:-1], self.first, out)
        _affine(out, rows[1:], self.second, out)


class _Ends:
    """The first convolution of the codec, from samples (time, 1); or the last ones, which are one."""

    def __init__(self, weight: Tensor, bias: Tensor, snake: Snake | None, dtype: torch.dtype) -> None:
        self.snake = None if snake is None else _Snake(snake)
        self.out_channels, self.channels, self.taps = weight.shape
        self.weight = weight.permute(2, 1, 0).reshape(-1, self.out_channels).to(dtype).contiguous()
        self.bias = bias
        self.edge = self.taps // 2

    def reach(self, rows: int) -> tuple[int, int]:
        count = max(0, rows - self.taps + 1)
        return count, count

    def __call__(self, x: Tensor, out: Tensor) -> None:
        x = x if self.snake is None else self.snake(x)
        windows = x.as_strided((len(out), self.taps * self.channels), (self.channels, 1))
        _affine(self.bias, windows, self.weight, out)


def _affine(bias: Tensor, x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """`bias + x @ weight`, the product in the type of `weight`, put into `out` if that is given."""
    if weight.dtype == x.dtype:
        return torch.addmm(bias, x, weight, out=out)
    return torch.add(bias, (x.to(weight.dtype) @ weight).float(), out=out)


def _detached(x: Tensor | None) -> Tensor:
    assert x is not None
    return x.detach()


class _Stage(Protocol):
    """A layer on rows (time, channels), which says how far some rows reach.

    Attributes:
        channels: of its input.
        out_channels: of its output.
        edge: rows of silence that it assumes at both ends of a recording.
    """

    channels: int
    out_channels: int
    edge: int

    def reach(self, rows: int) -> tuple[int, int]:
        """How many outputs so many rows give, and how many of the rows are then done with."""
        ...

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Put as many outputs as rows reach for into `out`."""
        ...


class StreamEncoder:
    """A codec's weights made ready for `CodecStream`s, as many as one likes."""

    def __init__(self, codec: Codec, dtype: torch.dtype) -> None:
        """Prepare.

        Args:
            codec: it stays as it is.
            dtype: of products: that of the codec, or float16 or bfloat16.
        """
        encoder, mean = codec.encoder, codec.mean.weight.detach()[:, :, 0]
        weight, bias = encoder.conv2.weight.detach(), _detached(encoder.conv2.bias)
        self.like = bias
        self.stages: list[_Stage] = [
            _Ends(
                encoder.conv1.weight.detach(), _detached(encoder.conv1.bias), None, encoder.conv1.weight.dtype
            )
        ]
        for block in encoder.block:
            assert isinstance(block, EncoderBlock)
            units = (block.res_unit1, block.res_unit2, block.res_unit3)
            self.stages += [*(_Residual(unit, dtype) for unit in units), _Down(block, dtype)]
        both = torch.einsum("lh,hik->lik", mean, weight)
        self.stages.append(_Ends(both, mean @ bias + _detached(codec.mean.bias), encoder.snake1, dtype))


class CodecStream:
    """One recording on its way through a `StreamEncoder`, in whole hops; latents come up to 6 frames late."""

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder
        like = encoder.like
        self._kept = [like.new_zeros(stage.edge, stage.channels) for stage in encoder.stages]

    @torch.no_grad()
    def push(self, samples: Tensor) -> Tensor:
        """Hear the next (samples,) and give the latents (frames, latent) that they complete."""
        return self._through(samples[:, None], last=False)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The latents still to come when silence follows."""
        return self._through(self._kept[0][:0], last=True)

    def _through(self, x: Tensor, last: bool) -> Tensor:
        stages = self._encoder.stages
        x = torch.cat((self._kept[0], x, x.new_zeros(stages[0].edge if last else 0, stages[0].channels)))
        for i, stage in enumerate(stages):
            count, used = stage.reach(len(x))
            following = stages[i + 1 : i + 2]
            head = len(self._kept[i + 1]) if following else 0
            tail = following[0].edge if following and last else 0
            out = x.new_empty(
                head + count + tail, stage.out_channels
            )  # with what the next stage kept before it
            if following:
                out[:head] = self._kept[i + 1]
                out[head + count :] = 0
            if count:
                stage(x, out[head : head + count])
            self._kept[i], x = x[used:].clone(), out
        return x
