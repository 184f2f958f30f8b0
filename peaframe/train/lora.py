"""LoRA: small matrices that learn beside large ones that stand still (Hu and others, arXiv 2106.09685).

A linear layer `x W'` becomes `x W' + alpha / rank * drop(x) down' up'` with `down` (rank, inputs) random and `up`
(outputs, rank) zero at first, so nothing changes until training does. Merged, it is an ordinary linear layer again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.errors import CheckpointError, OptionError

_NAMES = ("lora_down", "lora_up")


@dataclass(frozen=True)
class LoraOptions:
    """What is added where.

    Attributes:
        rank: of the matrices added.
        alpha: what is added is multiplied with `alpha / rank`.
        dropout: share of an added branch's inputs left out in training.
        layers: patterns (`*` for anything) of the linear layers' names; as given, attention and SwiGLU of the audio
            tower in PE-A-Frame and peaframe-mini alike. PE-A-Frame's text tower is `text.layers.*.W*`.
        seed: of the first values, so every process starts with the same.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    layers: tuple[str, ...] = ("*tower.layers.*_proj",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise OptionError(f"got LoRA of rank {self.rank}, expected 1 or more")
        if not self.alpha > 0:
            raise OptionError(f"got LoRA with alpha {self.alpha}, expected more than 0")
        if not self.layers:
            raise OptionError(
                "got LoRA for no layers, expected patterns of names such as '*tower.layers.*_proj'"
            )
        if not 0 <= self.dropout < 1:
            raise OptionError(f"got LoRA with dropout {self.dropout}, expected at least 0, below 1")


class LoraLinear(nn.Linear):
    """A linear layer and its LoRA branch; `weight` and `bias` keep their names and objects.

    Attributes:
        lora_down: (rank, inputs).
        lora_up: (outputs, rank).
        share: what the branch is multiplied with.
        dropout: share of its inputs left out in training.
    """

    lora_down: nn.Parameter
    lora_up: nn.Parameter
    share: float
    dropout: float

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        low = F.linear(F.dropout(x, self.dropout, self.training), self.lora_down)
        return super().forward(x) + self.share * F.linear(low, self.lora_up)


def is_lora(name: str) -> bool:
    """Whether a parameter of this name is LoRA's."""
    return name.rpartition(".")[2] in _NAMES


def add_lora(model: nn.Module, options: LoraOptions) -> list[str]:
    """Give a model's linear layers their branches; from then on only these learn.

    To train a part beside them, such as the heads, unfreeze it afterwards.

    Args:
        model: changed in place; what it computes stays as it is.
        options: what is added where.

    Returns:
        The names of the layers, in the model's order.

    Raises:
        OptionError: a pattern fits no linear layer; a layer is within PyTorch's own transformer, which reads weights
            without calling layers; or the model has LoRA already.
    """
    if next(_branches(model), None) is not None:
        raise OptionError("got a model that has LoRA already, expected one without; merge it first")
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for pattern in options.layers:
        if not any(fnmatchcase(name, pattern) for name in linear):
            some = ", ".join(list(linear)[-3:])
            raise OptionError(
                f"got LoRA for {pattern!r}, which fits no layer; expected names of linear layers such as {some}"
            )
    chosen = {n: m for n, m in linear.items() if any(fnmatchcase(n, pattern) for pattern in options.layers)}
    sealed = [
        n
        for n, m in model.named_modules()
        if isinstance(m, (nn.TransformerEncoderLayer, nn.MultiheadAttention))
    ]
    for name in chosen:
        if any(name.startswith(f"{outer}.") for outer in sealed):
            raise OptionError(
                f"got LoRA for {name!r}, expected layers outside PyTorch's own transformer, which would not hear it; "
                "narrow the pattern"
            )
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(options.seed)
    for layer in chosen.values():
        _branch(layer, options, generator)
    return list(chosen)


def _branch(layer: nn.Linear, options: LoraOptions, generator: torch.Generator) -> None:
    """Turn a linear layer into a `LoraLinear`, in place."""
    down = torch.randn(options.rank, layer.in_features, generator=generator) / layer.in_features**0.5
    layer.__class__ = LoraLinear
    assert isinstance(layer, LoraLinear)
    layer.lora_down = nn.Parameter(down.to(layer.weight))
    layer.lora_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, options.rank))
    layer.share = options.alpha / options.rank
    layer.dropout = options.dropout


def _branches(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear))


@torch.no_grad()
def merge_lora(model: nn.Module) -> int:
    """Add the branches to the weights beside them, which leaves an ordinary model whose every parameter may learn.

    To go on training, merge a deep copy.

    Returns:
        How many layers were merged.
    """
    found = list(_branches(model))
    for _, layer in found:
        up, down = (
            m.to(torch.promote_types(m.dtype, torch.float32)) for m in (layer.lora_up, layer.lora_down)
        )
        layer.weight.copy_(layer.weight.to(up.dtype) + layer.share * (up @ down))
        for name in (*_NAMES, "share", "dropout"):
            delattr(layer, name)
        layer.__class__ = nn.Linear  # type: ignore[assignment]
    if found:
        model.requires_grad_(True)
    return len(found)


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The branches alone, by name: a few megabytes that `load_lora_state` puts into the same model again."""
    return {n: tensor.detach().clone() for n, tensor in model.state_dict().items() if is_lora(n)}


@torch.no_grad()
def load_lora_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put branches from `lora_state` into a model that `add_lora` gave the same ones.

    Raises:
        CheckpointError: they have other names or shapes.
    """
    own = {name: p for name, p in model.named_parameters() if is_lora(name)}
    have, want = ({n: tuple(t.shape) for n, t in tensors.items()} for tensors in (state, own))
    for name in sorted(set(have) | set(want)):
        if have.get(name) != want.get(name):
            raise CheckpointError(
                f"got LoRA {name!r} of shape {have.get(name)}, expected {want.get(name)}; "
                "use the rank and layers it was trained with"
            )
    for name, p in own.items():
        p.copy_(state[name])
