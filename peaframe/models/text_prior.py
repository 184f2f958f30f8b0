"""Scores that allow for how rare a query is, as FLAM does (arXiv 2505.05335); see `peaframe.losses.prior`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TextHead(nn.Module):
    """One number for each text, from its embedding: two layers with GELU between, `start` for all at first."""

    def __init__(self, dim: int, hidden: int = 256, start: float = -8.0) -> None:
        """Take embeddings of `dim` channels."""
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.constant_(self.outer.bias, start)

    def forward(self, texts: Tensor) -> Tensor:
        """(texts, dim) -> (texts,); nothing flows back into `texts`."""
        numbers: Tensor = self.outer(F.gelu(self.inner(texts.detach())))[:, 0]
        return numbers


class TextPrior(nn.Module):
    """A scale and a bias for each text; the bias is the logit of the share of frames in which the text is heard."""

    def __init__(self, dim: int, scale: float = 10.0, bias: float = -8.0, hidden: int = 256) -> None:
        """Take embeddings of `dim` channels; all texts have this scale and bias at first."""
        super().__init__()
        self.scale = TextHead(dim, hidden, scale)
        self.bias = TextHead(dim, hidden, bias)

    def score(self, dots: Tensor, texts: Tensor) -> Tensor:
        """Logits of `p / (p + sigmoid(bias))` squeezed into [0, 1], where `p` has the logit `scale * dot + bias`.

        Args:
            dots: (..., texts), dot products.
            texts: (texts, dim), embeddings.

        Returns:
            (..., texts): 0 where a frame is as likely to hold the text as any frame.
        """
        bias = self.bias(texts)
        return F.logsigmoid(dots * self.scale(texts) + bias) - F.logsigmoid(bias)


def unbiased_scores(logits: Tensor, biases: Tensor) -> Tensor:
    """`p / (p + sigmoid(bias))`: 0.5 where a frame is as likely to hold the text as any frame.

    Args:
        logits: (..., texts), of which `p` is the sigmoid.
        biases: (texts,).
    """
    return torch.sigmoid(F.logsigmoid(logits) - F.logsigmoid(biases))
