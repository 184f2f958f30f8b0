"""How the tensors and the operations of a training step are counted (`peaframe.train.plan`).

The step is run with tensors that have shapes and no values; hooks note what autograd keeps of them, and in which layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from peaframe.models.frame import FrameModel, MiniFrameModel

Precision = Literal["float32", "bfloat16"]
_Storages = dict[int, torch.UntypedStorage]  # by address; held, so that no address is used again
_aten = torch.ops.aten
_NORMS = (_aten.native_layer_norm.default, _aten.native_group_norm.default)
OPERATIONS = {  # operations of what the counter does not know: 2 products forward, 5 backward, the first one again
    _aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, *_, **__: 4 * math.prod(q) * k[-2],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda _, q, k, *__, **___: 10 * math.prod(q) * k[-2]
    ),
}


def count_step(
    model: FrameModel, learning: Collection[str], precision: Precision, *sizes: int
) -> tuple[Kept, int, int]:
    """A step without values: what is kept, and the operations until the end of the forward and backward pass.

    Args:
        model: on any device; it is not changed.
        learning: names of the parameters that learn.
        precision: of matrix products.
        sizes: numbers of clips, frames, texts and tokens.
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    counter = FlopCounterMode(display=False, custom_mapping=OPERATIONS)
    with _training(model, precision), FakeTensorMode():
        given = {
            f"model.{name}": torch.empty(x.shape, dtype=x.dtype, requires_grad=name in learning)
            for name, x in tensors
        }
        kept = Kept(list(given.values()), counter.get_total_flops)
        with counter:
            with kept.watching(model):
                loss = functional_call(_Whole(model, precision), given, (sizes, kept))
            forward = counter.get_total_flops()
            if loss.requires_grad:
                loss.sum().backward()
    return kept, forward, counter.get_total_flops()


class _Shapes(TorchDispatchMode):
    """Does what tensors without values cannot, and notes which of them are weights in another type."""

    def __init__(self, weights: set[int], casts: _Storages) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights, self.casts = weights, casts

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is _aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return False  # is the mask true everywhere?
        out = function(*args, **(kwargs or {}))
        if function is _aten._to_copy.default and _key(args[0]) in self.weights:
            self.casts[_key(out)] = out.untyped_storage()
        if function in _NORMS:  # their means and deviations are float32 on all devices
            out = (out[0], out[1].float(), out[2].float())
        return out


class Kept:
    """What autograd keeps, once for each piece of memory, by where it was first kept: in a layer, or in none.

    Attributes:
        layers: operations of those layers whose output depends on something that learns.
        scoring: operations done before the logits; None until then.
    """

    def __init__(self, weights: Sequence[Tensor], operations: Callable[[], int]) -> None:
        self.operations, self.layers = operations, 0
        self.scoring: int | None = None
        self._weights = {_key(p) for p in weights}
        self._layer: int | None = None
        self._before = 0
        self._casts: _Storages = {}
        self._logits: _Storages = {}
        self._places: dict[int | None, _Storages] = {None: {}}
        self._inputs: dict[int, _Storages] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note what is kept inside, and in which of the model's layers."""
        stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        with ExitStack() as stack:
            for number, layer in enumerate(layer for layers in stacks for layer in layers):
                enter = partial(self._enter, number)
                stack.callback(layer.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(layer.register_forward_hook(self._leave).remove)
            stack.enter_context(_Shapes(self._weights, self._casts))
            stack.enter_context(saved_tensors_hooks(self._note, lambda tensor: tensor))
            yield

    def _enter(self, number: int, _: Any, args: Any, kwargs: Any) -> None:
        self._layer, self._before = number, self.operations()
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        # of every time that it is called
        self._inputs.setdefault(number, {}).update({_key(x): x.untyped_storage() for x in tensors})

    def _leave(self, _: Any, __: Any, out: Tensor) -> None:
        self._layer = None
        self.layers += self.operations() - self._before if out.requires_grad else 0

    def _note(self, tensor: Tensor) -> Tensor:
        key = _key(tensor)
        if not any(key in place for place in (self._weights, self._logits, *self._places.values())):
            place = self._places.setdefault(self._layer, {}) if self.scoring is None else self._logits
            place[key] = tensor.untyped_storage()
        return tensor

    def sizes(self, checkpointing: bool) -> tuple[int, int, int]:
        """Bytes of weights in another type, of the logits, and of all else.

        With checkpointing all else is what is there while the largest layer is computed again.
        """
        layers = [layer for layer in self._places if layer is not None]
        kept = dict(self._places[None])
        for layer in layers:
            kept |= self._inputs[layer] if checkpointing else self._places[layer]
        redone = [self._rest(self._places[layer], kept) for layer in layers] if checkpointing else []
        every = {key: s for place in self._places.values() for key, s in place.items()}
        casts = sum(s.nbytes() for key, s in every.items() if key in self._casts)
        logits = sum(s.nbytes() for s in self._logits.values())
        return casts, logits, self._rest(kept, {}) + max(redone, default=0)

    def _rest(self, place: _Storages, known: _Storages) -> int:
        skipped = self._casts.keys() | known.keys() | self._weights
        return sum(s.nbytes() for key, s in place.items() if key not in skipped)


class _Whole(nn.Module):
    """A model's two towers and its scores in one call, so that all of it can be given other parameters."""

    def __init__(self, model: FrameModel, precision: Precision) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, sizes: tuple[int, int, int, int], kept: Kept) -> Tensor:
        """All frames against all texts."""
        batch, frames, texts, tokens = sizes
        rows = torch.empty(batch, frames, self.model.feature_channels, dtype=self.model.logit_scale.dtype)
        mask = None if isinstance(self.model, MiniFrameModel) else rows.new_ones(batch, frames).bool()
        ids = torch.zeros(texts, tokens, dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            heard = self.model.encode_features(rows, mask)
            asked = self.model.encode_tokens(ids, torch.ones_like(ids))
        kept.scoring = kept.operations()
        return F.softplus(self.model.score(heard.float(), asked.float()))


@contextmanager
def _training(model: FrameModel, precision: Precision) -> Iterator[None]:
    """Inside, the model is in training mode and has the products of a precision; after it, all is as before."""
    names = ("training", "products")
    before = [(m, {name: getattr(m, name) for name in names if hasattr(m, name)}) for m in model.modules()]
    for module, values in before:
        if "products" in values:
            setattr(module, "products", getattr(torch, precision))  # noqa: B010
    model.train()
    try:
        yield
    finally:
        for module, values in before:
            for name, value in values.items():
                setattr(module, name, value)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
