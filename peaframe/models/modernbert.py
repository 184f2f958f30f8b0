"""ModernBERT as PE models use it: the hidden state behind the n-th layer, of token 0, before any final norm.

The layout of answerdotai/ModernBERT (Warner et al. 2024, arXiv 2412.13663): rotary positions, global attention in every
third layer and a window in the others, gated GELU, no biases, pre-norm. PE models cut the 28 layers of the large
one at the 22nd (`nth_text_layer`); transformers 5.23 would hand out a normed state there, the reference does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.models.tower import rotary_tables, rotate


@dataclass(frozen=True)
class ModernBertConfig:
    """Sizes of the text tower.

    Attributes:
        vocabulary: number of word pieces.
        width: channels of every token.
        layers: number of layers kept, `nth_text_layer` of the published configuration.
        heads: attention heads.
        mlp_width: hidden channels of the gated feed-forward part.
        global_every: every so many layers, the first included, attention is global.
        window: tokens that a local layer's token sees, itself and half of them on each side.
        global_theta: base of the rotary frequencies in global layers.
        local_theta: the same in local layers.
        norm_eps: epsilon of every norm.
        max_tokens: pieces a query may have.
    """

    vocabulary: int = 50_368
    width: int = 1024
    layers: int = 22
    heads: int = 16
    mlp_width: int = 2624
    global_every: int = 3
    window: int = 128
    global_theta: float = 160_000.0
    local_theta: float = 10_000.0
    norm_eps: float = 1e-5
    max_tokens: int = 512


class TextAttention(nn.Module):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.Wqkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.Wo = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor) -> Tensor:
        """Map (texts, tokens, width) to the same; `keys` is true where a token may look."""
        texts, tokens, width = x.shape
        qkv = self.Wqkv(x).view(texts, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, *rotary), rotate(k, *rotary), v, attn_mask=keys)
        out: Tensor = self.Wo(y.transpose(1, 2).reshape(texts, tokens, width))
        return out


class GatedMlp(nn.Module):
    """`Wo(gelu(a) * b)` with a and b from one projection."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.Wi = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.Wo = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        a, b = self.Wi(x).chunk(2, dim=-1)
        out: Tensor = self.Wo(F.gelu(a) * b)
        return out


class TextLayer(nn.Module):
    """One pre-norm layer; the first one's attention takes the embeddings as they are, which are normed already."""

    def __init__(self, config: ModernBertConfig, index: int) -> None:
        super().__init__()
        self.everywhere = index % config.global_every == 0
        norm = nn.LayerNorm(config.width, config.norm_eps, bias=False)
        self.attn_norm = nn.Identity() if index == 0 else norm
        self.attn = TextAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps, bias=False)
        self.mlp = GatedMlp(config)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor) -> Tensor:
        """Map (texts, tokens, width) to the same shape."""
        x = x + self.attn(self.attn_norm(x), rotary, keys)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class TextEmbeddings(nn.Module):
    """Word pieces, normed."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (texts, tokens) to (texts, tokens, width)."""
        out: Tensor = self.norm(self.tok_embeddings(input_ids))
        return out


class ModernBert(nn.Module):
    """Token ids -> the vector of each text's first token."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.layers = nn.ModuleList(TextLayer(config, i) for i in range(config.layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode token ids with their mask, both (texts, tokens): (texts, width)."""
        config = self.config
        x = self.embeddings(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        distance = (places[:, None] - places).abs()
        keys = attention_mask.bool()[:, None, None, :]
        near = keys & (distance <= config.window // 2) | (
            distance == 0
        )  # padding far from its text sees itself
        head_dim = config.width // config.heads
        tables = {
            everywhere: rotary_tables(len(places), head_dim, theta, x)
            for everywhere, theta in ((True, config.global_theta), (False, config.local_theta))
        }
        for layer in self.layers:
            assert isinstance(layer, TextLayer)
            x = layer(x, tables[layer.everywhere], keys if layer.everywhere else near)
        first: Tensor = x[:, 0]
        return first
