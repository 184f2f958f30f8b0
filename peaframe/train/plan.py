"""What a training run will need, before it is begun: memory and work of one step, counted without any values.

The model goes through a step of the asked size with tensors that have shapes and nothing else, and all that autograd
would keep is added up. So a model of any size is planned in seconds, on any machine, and nothing is allocated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from peaframe.errors import OptionError
from peaframe.models.frame import FrameModel
from peaframe.train.machine import Machine
from peaframe.train.optim import ParameterGroup, part_of
from peaframe.train.plan_counting import Precision, count_step

_MEASURED = 0.25  # seconds
_NUMBER = re.compile(r"\.(\d+)$")


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
    kept, forward, flops = count_step(model, set(learning), precision, batch, frames, texts, tokens)
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


def lines_on(
    machine: Machine, plan: Plan, pieces: int, steps: int, clips: tuple[int, int], texts: tuple[int, int]
) -> list[str]:
    """What a run takes on a machine, for people.

    Args:
        machine: it.
        plan: what a process has to do in a piece of a step.
        pieces: of a step.
        steps: of the run.
        clips: of a step of a process, and frames of each.
        texts: likewise, and tokens of each.
    """
    flops = plan.flops * pieces
    seconds = machine.seconds(flops)
    tokens = machine.gpus * (clips[0] * clips[1] + texts[0] * texts[1])
    return [
        *plan.lines(),
        machine.memory_line(plan.total, "fsdp, more GPUs, or a lower data.batch_size with accumulate"),
        machine.step_line(machine.gpus * clips[0], flops),
        f"to be read: {tokens / seconds:.3g} tokens (frames, word pieces) a second, "
        f"{machine.gpus * clips[0] / seconds:.3g} clips",
        machine.run_line(steps, seconds),
    ]


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
