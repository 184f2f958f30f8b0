"""What may be done to the layers of towers and text, in place: compute them again for their gradients; compile them.

Neither changes results beyond rounding, nor the names of weights. Each layer is compiled by itself, with lengths left
open: layers of equal sizes share what was compiled, batches of other lengths need nothing new, and what happens around
a layer (weights gathered by FSDP, gradients sent by DDP, inputs kept alone) goes on as before.
"""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peaframe.errors import OptionError
from peaframe.models.modernbert import TextLayer
from peaframe.models.tower import Layer

# Of all sizes, with and without gradients and masks; torch's own 8 would leave most layers as they are.
_VARIANTS = 128


class _RecomputedLayer(Layer):
    """A layer that keeps its input alone."""

    def forward(self, *inputs: Any) -> Tensor:
        """As the layer does."""
        return _recomputed(super().forward, *inputs)


class _RecomputedTextLayer(TextLayer):
    """A layer of text that keeps its input alone."""

    def forward(self, *inputs: Any) -> Tensor:
        """As the layer does."""
        return _recomputed(super().forward, *inputs)


def _recomputed(forward: Any, *inputs: Any) -> Tensor:
    if not torch.is_grad_enabled():
        out: Tensor = forward(*inputs)
        return out
    out = checkpoint(forward, *inputs, use_reentrant=False)
    return out


def recompute_layers(model: nn.Module) -> None:
    """Make every layer of towers and text keep its input alone, in place; results and names of weights stay."""
    for module in model.modules():
        if type(module) is Layer:
            module.__class__ = _RecomputedLayer
        elif type(module) is TextLayer:
            module.__class__ = _RecomputedTextLayer


def compile_layers(model: nn.Module) -> None:
    """Compile every layer of towers and text when it is first called, in place; before `parallel.shared`.

    A copy of the model would call the layers of this one: make it before.
    """
    torch._dynamo.config.recompile_limit = max(_VARIANTS, torch._dynamo.config.recompile_limit)
    for module in model.modules():
        if isinstance(module, (Layer, TextLayer)):
            plain = Layer.forward if isinstance(module, Layer) else TextLayer.forward
            quick: Any = torch.compile(MethodType(plain, module), dynamic=True)
            if isinstance(module, (_RecomputedLayer, _RecomputedTextLayer)):
                quick = partial(_recomputed, quick)
            module.forward = quick  # type: ignore[method-assign]


def refuse_without_compiler(device: torch.device) -> None:
    """Compile something small for a device.

    Raises:
        OptionError: that does not work here.
    """
    try:
        torch.compile(lambda x: x + 1, dynamic=True)(torch.zeros(3, device=device))
    except RuntimeError as error:
        why = next(
            (line for line in str(error).splitlines() if "Error" in line or "ompiler" in line), str(error)
        )
        what = (
            "a C++ compiler, such as g++" if device.type == "cpu" else "Triton and a C compiler, such as gcc"
        )
        raise OptionError(
            f"got compile true, but nothing can be compiled for this {device.type} ({why}); install {what}, or use "
            "compile=false"
        ) from error
