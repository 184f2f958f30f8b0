"""The image encoder whose features PE-AV's video tower hears of: PE-Core (arXiv 2504.13181), a vision transformer.

Patches of a square image and a class token, learnt positions and 2-D rotary ones, pre-norm layers, attention pooling
and a linear head. Tensors bear the names that timm gives them (`vit_pe_core_*` in `timm/models/eva.py`), as
transformers' PE-AV checkpoints do; timm itself would bring torchvision, which is not to be had for every torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_THETA = 10_000.0
BATCH_FRAMES = 16


@dataclass(frozen=True)
class ImageConfig:
    """Sizes of an image encoder.

    Attributes:
        size: pixels of an image's side.
        patch: pixels of a patch's side.
        width: channels of every token.
        layers: number of transformer layers.
        heads: attention heads.
        pool_heads: attention heads of the pooling.
        mlp_ratio: hidden channels of the feed-forward parts, times the width.
    """

    size: int = 336
    patch: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    pool_heads: int = 8
    mlp_ratio: int = 4

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.size // self.patch


# By timm's name and by that of perception_models.
PUBLIC = {name: ImageConfig() for name in ("vit_pe_core_large_patch14_336", "PE-Core-L14-336")}


def rotary_grid(grid: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (grid * grid, head_dim): columns turn the first half of a head, rows the second."""
    steps = torch.arange(head_dim // 4, dtype=torch.float32)
    bands = ROPE_THETA ** (-steps / (head_dim // 4))
    places = torch.arange(1, grid + 1, dtype=torch.float32)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    angles = torch.stack((columns.flatten(), rows.flatten()), dim=1)[:, :, None] * bands
    angles = angles.flatten(1).repeat_interleave(2, dim=1)
    return angles.cos(), angles.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of neighbouring channels of (..., tokens, head_dim) by their angles."""
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return x * cos + turned * sin


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class ImageAttention(nn.Module):
    """Full attention; all tokens but the first are turned by their place in the image."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (torch.cat((y[:, :, :1], turn(y[:, :, 1:], *rotary)), dim=2) for y in (q, k))
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class ImageLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attn = ImageAttention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = FeedForward(config.width, config.width * config.mlp_ratio)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        x = x + self.attn(self.norm1(x), rotary)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class AttentionPool(nn.Module):
    """One learnt query that attends to all tokens, then a feed-forward part."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.heads = config.pool_heads
        self.latent = nn.Parameter(torch.randn(1, 1, config.width) * config.width**-0.5)
        self.q = nn.Linear(config.width, config.width)
        self.kv = nn.Linear(config.width, 2 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.mlp = FeedForward(config.width, config.width * config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, tokens, width) to (batch, width)."""
        q = self.q(self.latent.expand(len(x), -1, -1)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        pooled = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))[:, 0]
        out: Tensor = pooled + self.mlp(self.norm(pooled))
        return out


class ImageEncoder(nn.Module):
    """Images -> features."""

    def __init__(self, config: ImageConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.randn(1, config.grid**2 + 1, config.width) * 0.02)
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)}
        )
        self.norm_pre = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(ImageLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.attn_pool = AttentionPool(config)
        self.head = nn.Linear(config.width, features)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: (batch, 3, size, size), values in [-1, 1].

        Returns:
            (batch, features), not normed.
        """
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        x = self.norm_pre(x)
        rotary = rotary_grid(self.config.grid, self.config.width // self.config.heads)
        rotary = rotary[0].to(x), rotary[1].to(x)
        for block in self.blocks:
            x = block(x, rotary)
        out: Tensor = self.head(self.attn_pool(self.norm(x)))
        return out

    @torch.no_grad()
    def frame_features(self, frames: Tensor) -> Tensor:
        """Features of a video's frames, of unit length, a few frames at a time.

        Args:
            frames: (frames, 3, height, width) uint8; squashed to a square, bilinearly.

        Returns:
            (frames, features).
        """
        parts = []
        for part in torch.split(frames, BATCH_FRAMES):
            pixels = part.to(self.head.weight.device)
            size = (self.config.size, self.config.size)
            if pixels.shape[2:] != size:
                pixels = (
                    F.interpolate(pixels.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255)
                )
            values = self(pixels.to(self.head.weight.dtype) / 127.5 - 1)
            parts.append(F.normalize(values, dim=-1))
        return torch.cat(parts)
