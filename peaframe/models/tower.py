"""The transformer that PE-A-Frame and peaframe-mini share: frames in, contextual frames and a clip token out.

Architecture of PE-AV's audio tower (arXiv 2512.19687; `core/audio_visual_encoder/transformer.py` of
facebookresearch/perception_models): a learnt CLS token before the frames, one convolutional ResNet block,
pre-RMSNorm layers with per-head RMSNorm on queries and keys, rotary positions and SwiGLU, a last RMSNorm and a
projection without bias. Padding is masked everywhere, so a clip's frames do not depend on its batch mates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of a tower.

    Attributes:
        width: channels of every token.
        layers: number of transformer layers.
        heads: attention heads; `width` must divide by it.
        mlp_width: hidden channels of the SwiGLU.
        rope_theta: base of the rotary frequencies.
        norm_eps: epsilon of every RMSNorm.
        dropout: share of residual updates dropped in training; 0 in PE-AV.
    """

    width: int
    layers: int
    heads: int
    mlp_width: int
    rope_theta: float = 20_000.0
    norm_eps: float = 1e-5
    dropout: float = 0.0


class RMSNorm(nn.RMSNorm):
    """RMS norm that computes in the type of its input, also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., width)."""
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm with one group whose statistics leave padded frames out."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise `x` (batch, channels, time) over channels and the times where `mask` (batch, time) is true."""
        if mask is None:
            return super().forward(x)
        keep = mask[:, None, :].to(x.dtype)
        count = keep.sum(dim=(1, 2), keepdim=True) * x.shape[1]
        mean = (x * keep).sum(dim=(1, 2), keepdim=True) / count
        variance = ((x - mean).square() * keep).sum(dim=(1, 2), keepdim=True) / count
        normed = (x - mean) * torch.rsqrt(variance + self.eps)
        return normed * self.weight[:, None] + self.bias[:, None]


class ConvBlock(nn.Module):
    """Group norm, SiLU, convolution of width 3 along time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groupnorm = MaskedGroupNorm(1, width)
        self.project = nn.Conv1d(width, width, kernel_size=3, padding="same")

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (batch, channels, time) to the same shape."""
        x = F.silu(self.groupnorm(x, mask))
        if mask is not None:
            x = x * mask[:, None, :].to(x.dtype)
        out: Tensor = self.project(x)
        return out


class ResnetBlock1d(nn.Module):
    """Two `ConvBlock`s with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block1 = ConvBlock(width)
        self.block2 = ConvBlock(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (batch, time, channels) to the same shape."""
        y = x.transpose(1, 2)
        y = self.block2(self.block1(y, mask), mask)
        out: Tensor = x + y.transpose(1, 2)
        return out


def rotary_tables(tokens: int, head_dim: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each (tokens, head_dim), in the dtype and device of `like`."""
    steps = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32)
    angles = torch.outer(
        torch.arange(tokens, device=like.device, dtype=torch.float32), theta ** (-steps / head_dim)
    )
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (..., tokens, head_dim) by its positions (the half-split form of Llama)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Full attention without biases, RMSNorm on each head's queries and keys, rotary positions."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.head_dim = config.width // config.heads
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, config.width, bias=False)
        self.v_proj = nn.Linear(config.width, config.width, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)
        self.q_norm = RMSNorm(self.head_dim, eps=config.norm_eps)
        self.k_norm = RMSNorm(self.head_dim, eps=config.norm_eps)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor | None) -> Tensor:
        """Map (batch, tokens, width) to the same; `keys` (batch, 1, 1, tokens) is true where one may look."""
        batch, tokens, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, tokens, self.heads, self.head_dim).transpose(1, 2)

        q = rotate(self.q_norm(split(self.q_proj(x))), *rotary)
        k = rotate(self.k_norm(split(self.k_proj(x))), *rotary)
        y = F.scaled_dot_product_attention(q, k, split(self.v_proj(x)), attn_mask=keys)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return out


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))`, without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.mlp = SwiGLU(config.width, config.mlp_width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor | None) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), rotary, keys))
        out: Tensor = x + self.dropout(self.mlp(self.post_attention_layernorm(x)))
        return out


class Tower(nn.Module):
    """CLS token, ResNet block, transformer layers, last norm and projection."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.class_embedding = nn.Parameter(torch.randn(1, 1, config.width))
        self.resnet = ResnetBlock1d(config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, eps=config.norm_eps)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def start_as_identity(self) -> None:
        """Make every residual branch add nothing and the projection keep its input, until training moves them."""
        nn.init.eye_(self.output.weight)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)
        nn.init.zeros_(self.resnet.block2.project.weight)
        if self.resnet.block2.project.bias is not None:
            nn.init.zeros_(self.resnet.block2.project.bias)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Contextualise frames.

        Args:
            frames: (batch, frames, width).
            mask: (batch, frames), true where a frame belongs to its clip; None when all do.

        Returns:
            The frames (batch, frames, width), undefined behind a clip's end, and the clip token (batch, width).
        """
        cls = self.class_embedding.to(frames.dtype).expand(frames.shape[0], -1, -1)
        x = torch.cat((cls, frames), dim=1)
        keys = None
        if mask is not None:
            mask = F.pad(mask, (1, 0), value=True)
            keys = mask[:, None, None, :]
        x = self.resnet(x, mask)
        head_dim = self.config.width // self.config.heads
        rotary = rotary_tables(x.shape[1], head_dim, self.config.rope_theta, x)
        for layer in self.layers:
            x = layer(x, rotary, keys)
        x = self.finish(x)
        return x[:, 1:], x[:, 0]

    def finish(self, x: Tensor) -> Tensor:
        """The last norm and projection, which are all there is to a tower that starts as the identity."""
        out: Tensor = self.output(self.norm(x))
        return out


class ContrastiveHead(nn.Module):
    """Layer norm and a projection without bias into the space that audio and text share."""

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, embedding_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., embedding_dim)."""
        out: Tensor = self.proj(self.layer_norm(x))
        return out
