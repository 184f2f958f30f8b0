"""What a training run will need, before it is begun: memory and work of one step, counted without any values.

The model goes through a step of the asked size with tensors that have shapes and nothing else, and all that autograd
would keep is added up. So a model of any size is planned in seconds, on any machine, and nothing is allocated.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from peaframe.errors import OptionError
from peaframe.models.frame import FrameModel, MiniFrameModel
from peaframe.train.optim import ParameterGroup, part_of

Precision = Literal["float32", "bfloat16"]
_MEASURED = 0.25  # seconds
_NUMBER = re.compile(r"\.(\d+)$")
_Storages = dict[int, torch.UntypedStorage]  # by address; held, so that no address is used again
_aten = torch.ops.aten
_NORMS = (_aten.native_layer_norm.default, _aten.native_group_norm.default)
_ATTENTION = {  # operations of what the counter does not know: 2 products forward, 5 backward, the first one again
    _aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, *_, **__: 4 * math.prod(q) * k[-2],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda _, q, k, *__, **___: 10 * math.prod(q) * k[-2]
    ),
}


@dataclass(frozen=True)
class GroupSize:
    """Parameters of one name and one learning rate.

    Attributes:
        name: as of a `ParameterGroup`, or the part of the model for those that stand still.
        count: numbers in them.
        lr: their peak learning rate; 0 if they stand still.
        learns: whether they move.
    """

    name: str
    count: int
    lr: float
    learns: bool


@dataclass(frozen=True)
class Plan:
    """What one step takes, for each process.

    All bytes are there at once only if gradients are kept from one piece of a batch to the next; a single piece needs
    less. Not counted: the device's own libraries, gaps that its allocator leaves, the weights that a sharded model
    gathers for the layer at work, AdamW's temporary values (the activations' place is free then), and what the loss
    makes beyond its logits.

    Attributes:
        parameters: by group, all of the model, however it is spread.
        precision: of matrix products.
        weights: bytes of parameters and buffers.
        gradients: bytes of the gradients of what learns.
        moments: bytes of AdamW's two averages.
        ema: bytes of averaged weights in float32.
        casts: bytes of weights in the type of the products, made once a step.
        activations: bytes that autograd keeps for the backward pass.
        logits: bytes that it keeps of all frames against all texts, in float32.
        forward: floating-point operations of the forward pass: matrix products, convolutions and attention.
        flops: those of forward and backward pass, the backward pass counted by running it, so that what stands still
            costs what it costs; with checkpointing, layers are computed twice.
    """

    parameters: tuple[GroupSize, ...]
    precision: Precision
    weights: int
    gradients: int
    moments: int
    ema: int
    casts: int
    activations: int
    logits: int
    forward: int
    flops: int

    @property
    def total(self) -> int:
        """All bytes together."""
        return sum(getattr(self, name) for name in _BYTES)

    def lines(self) -> list[str]:
        """A table for people; numbered groups share a row; a GB is 1e9 bytes."""
        rows: dict[tuple[str, bool], list[GroupSize]] = {}
        for group in self.parameters:
            rows.setdefault((_NUMBER.sub("", group.name), group.learns), []).append(group)
        out = [_row("parameters", "millions", "learning rate")]
        for (name, learns), groups in rows.items():
            numbers = sorted(int(found[1]) for group in groups if (found := _NUMBER.search(group.name)))
            label = f"{name} {numbers[0]} to {numbers[-1]}" if numbers else name
            rates = sorted(
                {f"{group.lr:.1e}": group.lr for group in groups}.items(), key=lambda item: item[1]
            )
            rate = " to ".join(dict.fromkeys((rates[0][0], rates[-1][0]))) if learns else "stands still"
            out.append(_row(label, sum(group.count for group in groups) / 1e6, rate))
        learning, every = (
            sum(g.count for g in self.parameters if g.learns or still) for still in (False, True)
        )
        out.append(_row("all", every / 1e6, f"{learning / 1e6:.3f} of them learn"))
        out.append(_row("memory of a process", "GB"))
        out += [_row(label, getattr(self, name) / 1e9) for name, label in _BYTES.items()]
        out.append(_row("total", self.total / 1e9))
        out.append(_row("work of a step", "GFLOP", self.precision))
        out.append(_row("forward", self.forward / 1e9))
        out.append(_row("forward and backward", self.flops / 1e9))
        return out


def _row(label: str, value: float | str, remark: str = "") -> str:
    number = value if isinstance(value, str) else f"{value:.3f}"
    return f"{label:<24} {number:>10}   {remark}".rstrip()


_BYTES = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "AdamW's moments",
    "ema": "averaged weights",
    "casts": "weights, converted",
    "activations": "activations",
    "logits": "logits of the loss",
}


def plan(
    model: FrameModel,
    groups: Sequence[ParameterGroup],
    *,
    batch: int,
    frames: int,
    texts: int,
    tokens: int,
    precision: Precision,
    ema: bool,
    world_size: int = 1,
    sharded: bool = False,
    checkpointing: bool = False,
) -> Plan:
    """Count what a step of training on rows (`FrameModel.encode_features`) takes.

    PE-A-Frame is counted with clips of unequal length, which costs more than equal ones; peaframe-mini runs clips of
    one length at a time. Attention is counted as the processor's quick kernel does it, which keeps no (frames,
    frames) matrix; those of GPUs keep the same tensors.

    Args:
        model: on any device, the meta device included; it is not changed.
        groups: what learns, from `parameter_groups`; all others stand still, whatever they ask for themselves.
        batch: clips of a process in one piece.
        frames: of each clip.
        texts: queries of a process in one piece.
        tokens: of each query.
        precision: `bfloat16` stands for autocast, with `model.products` set to it; weights stay as they are.
        ema: whether weights are averaged.
        world_size: processes; each of them meets the texts of all.
        sharded: weights, gradients, moments and averages are spread over the processes (FSDP).
        checkpointing: of each layer of the towers only the input is kept, and the layer computed again.

    Raises:
        OptionError: a size below 1, an unknown precision, or groups of another model.
    """
    sizes = {"batch": batch, "frames": frames, "texts": texts, "tokens": tokens, "world_size": world_size}
    for what, size in sizes.items():
        if size < 1:
            raise OptionError(f"got {what} {size}, expected at least 1")
    if precision not in get_args(Precision):
        raise OptionError(f"got precision {precision!r}, expected {' or '.join(get_args(Precision))}")
    parameters = dict(model.named_parameters())
    learning = [name for group in groups for name in group.names]
    if strange := [name for name in learning if name not in parameters]:
        raise OptionError(f"got a group with {strange[0]!r}, expected parameters of this model alone")
    kept, forward, flops = _step(model, set(learning), precision, batch, frames, texts, tokens)
    casts, logits, activations = kept.sizes(checkpointing)
    others = (world_size - 1) * (forward - (kept.scoring or 0))  # the texts of other processes
    learns = [parameters[name] for name in learning]
    held = [*parameters.values(), *model.buffers()]
    spread = world_size if sharded else 1
    return Plan(
        parameters=_group_sizes(parameters, groups),
        precision=precision,
        weights=_bytes(held, spread),
        gradients=_bytes(learns, spread),
        moments=_bytes(learns * 2, spread),
        ema=-(-sum(p.numel() * max(4, p.element_size()) for p in learns if ema) // spread),
        casts=casts,
        activations=activations,
        logits=logits,
        forward=forward + others,
        flops=flops + 3 * others + (kept.layers if checkpointing else 0),
    )


def seconds_per_step(plan: Plan, device: torch.device | str) -> float:
    """A lower bound of a step's seconds: its operations at the rate of large matrix products.

    Runs such products for a quarter of a second. What is not a matrix product, reading data, and products too small
    to fill the device come on top.

    Args:
        plan: what a process has to do.
        device: the one it will do it on.
    """
    device = torch.device(device)
    size = 1024 if device.type == "cpu" else 8192
    matrix = torch.ones(size, size, dtype=getattr(torch, plan.precision), device=device)
    with torch.no_grad():
        for _ in range(2):  # the first products load libraries
            (matrix @ matrix)[0, 0].item()
        products, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < _MEASURED or not products:
            (matrix @ matrix)[0, 0].item()  # waits for the device
            products += 1
    return plan.flops * spent / (products * 2 * size**3)


def _bytes(tensors: Iterable[Tensor], processes: int) -> int:
    """Bytes of each process's share, rounded up."""
    return -(-sum(x.numel() * x.element_size() for x in tensors) // processes)


def _group_sizes(
    parameters: dict[str, nn.Parameter], groups: Sequence[ParameterGroup]
) -> tuple[GroupSize, ...]:
    """Groups of one name and rate put together, and what stands still by part, in the model's order."""
    learning = {name: (group.name, group.lr, True) for group in groups for name in group.names}
    counts: dict[tuple[str, float, bool], int] = {}
    for name, p in parameters.items():
        key = learning.get(name, (part_of(name), 0.0, False))
        counts[key] = counts.get(key, 0) + p.numel()
    return tuple(GroupSize(name, count, lr, learns) for (name, lr, learns), count in counts.items())


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


class _Kept:
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
        self._inputs[number] = {_key(x): x.untyped_storage() for x in tensors}

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

    def forward(self, sizes: tuple[int, int, int, int], kept: _Kept) -> Tensor:
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


def _step(
    model: FrameModel, learning: Collection[str], precision: Precision, *sizes: int
) -> tuple[_Kept, int, int]:
    """A step without values: what is kept, and the operations until the end of the forward and backward pass."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION)
    with _training(model, precision), FakeTensorMode():
        given = {
            f"model.{name}": torch.empty(x.shape, dtype=x.dtype, requires_grad=name in learning)
            for name, x in tensors
        }
        kept = _Kept(list(given.values()), counter.get_total_flops)
        with counter:
            with kept.watching(model):
                loss = functional_call(_Whole(model, precision), given, (sizes, kept))
            forward = counter.get_total_flops()
            if loss.requires_grad:
                loss.sum().backward()
    return kept, forward, counter.get_total_flops()


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
