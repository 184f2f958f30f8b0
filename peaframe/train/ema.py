"""An exponential moving average of the weights: what is evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peaframe.errors import CheckpointError, OptionError

_UPDATES = "updates"
_AVERAGE = "average/"


@dataclass(frozen=True)
class EmaOptions:
    """How weights are averaged.

    Attributes:
        decay: share of the average that an update keeps, in the long run; 0 keeps nothing, so the weights as they are.
        warm: begin with a small share, `(1 + n) / (10 + n)` at update `n` (the first is 0), while that is below
            `decay`: the untrained weights of the start are forgotten soon.
    """

    decay: float = 0.999
    warm: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise OptionError(f"got an EMA decay of {self.decay}, expected at least 0, below 1")


def decay_at(update: int, options: EmaOptions) -> float:
    """Share of the average that update number `update` keeps; the first is 0."""
    return min(options.decay, (1 + update) / (10 + update)) if options.warm else options.decay


class Ema:
    """Averages of a model's parameters that learn, in float32 (float64 where they are) whatever the model's type.

    A parameter set free later enters the average with the value it has then; one that is frozen again stays in it.
    Buffers are not averaged. Call `update` after steps that moved the weights, not after skipped ones.

    Attributes:
        updates: how many there were.
        average: parameter name -> its average.
    """

    def __init__(self, model: nn.Module, options: EmaOptions) -> None:
        self.options = options
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._enter(model)

    def _enter(self, model: nn.Module) -> None:
        for name, p in model.named_parameters():
            if p.requires_grad and name not in self.average:
                self.average[name] = _wide(p)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's weights: `decay * average + (1 - decay) * weights`."""
        share = 1 - decay_at(self.updates, self.options)
        for name, p in model.named_parameters():
            if name in self.average:
                mine = self.average[name]
                mine.lerp_(p.to(mine.dtype), share)
        self._enter(model)
        self.updates += 1

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Inside `with`, the model has the averaged weights; after it, its own again, bit for bit.

        Training inside is lost. The model's parameters stay the same objects, so an optimiser keeps them.
        """
        theirs = {name: p for name, p in model.named_parameters() if name in self.average}
        kept = {name: p.detach().clone() for name, p in theirs.items()}
        _put(self.average, theirs)
        try:
            yield
        finally:
            _put(kept, theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors to go on from, with names as a safetensors file may have: `updates` and `average/NAME`."""
        tensors = {_AVERAGE + name: tensor.clone() for name, tensor in self.average.items()}
        return {_UPDATES: torch.tensor(self.updates), **tensors}

    def load_state_dict(self, state: Mapping[str, Tensor], model: nn.Module) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: its tensors.
            model: the model that they average.

        Raises:
            CheckpointError: they average another model.
        """
        parameters = dict(model.named_parameters())
        given = {name.removeprefix(_AVERAGE): t for name, t in state.items() if name.startswith(_AVERAGE)}
        if _UPDATES not in state:
            raise CheckpointError(
                "got averaged weights without their number of updates; expected a whole EMA state"
            )
        for name, tensor in given.items():
            shape = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            if shape != tuple(tensor.shape):
                raise CheckpointError(
                    f"got averaged weights {name!r} of shape {tuple(tensor.shape)}, expected {shape}; "
                    "they belong to another model"
                )
        missing = [name for name, p in parameters.items() if p.requires_grad and name not in given]
        if missing:
            raise CheckpointError(
                f"got no averaged weights for {missing[0]!r} and {len(missing) - 1} more that learn; "
                "they belong to a run with other parts frozen"
            )
        self.average = {name: _wide(tensor).to(parameters[name].device) for name, tensor in given.items()}
        self.updates = int(state[_UPDATES])


def _wide(tensor: Tensor) -> Tensor:
    """A copy in float32, or float64 if it is."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)


@torch.no_grad()
def _put(values: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, p in parameters.items():
        p.copy_(values[name])
