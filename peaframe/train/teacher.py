"""A teacher: class scores on top of a front end, to learn the meaning of words that no label has."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.models.frontend import ConvFrontEnd

SMOOTH = 17  # frames a score is taken over, about a second with the network's own field


class Teacher(nn.Module):
    """A linear classifier on the deepest map of a front end, averaged over about a second; never trained.

    Attributes:
        front: the convolutions it listens with.
        names: names of its classes.
    """

    def __init__(self, front: ConvFrontEnd, weight: Tensor, bias: Tensor, names: list[str]) -> None:
        """Take `weight` (classes, 1024) and `bias` (classes,)."""
        super().__init__()
        self.front = front.eval().requires_grad_(False)
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = nn.Parameter(bias.float(), requires_grad=False)
        self.names = names

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Probabilities (batch, frames, classes) of 16 kHz audio (batch, samples)."""
        return self.scores(self.front(waveform)[1])

    @torch.no_grad()
    def scores(self, deep: Tensor) -> Tensor:
        """The same from the deepest map (batch, frames, 1024)."""
        deep = F.avg_pool1d(
            deep.transpose(1, 2), SMOOTH, stride=1, padding=SMOOTH // 2, count_include_pad=False
        )
        return torch.sigmoid(F.linear(deep.transpose(1, 2), self.weight, self.bias))
