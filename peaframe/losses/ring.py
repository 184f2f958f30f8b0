"""Texts passed round all processes in a ring, so that everybody's frames meet everybody's texts.

A process keeps its frames and its neighbour's texts, never all texts at once: what it needs does not grow with the
number of processes. Each meeting is differentiated as soon as its share of the loss is known, and the gradient of the
texts travels on with them until both are home again; nothing is sent in the backward pass. The idea of the ring is
SigLIP's (arXiv 2303.15343, section 3.3); that gradients are made on the way is ours.

All that is returned is a *share*: shares of all processes add up to what one process with all of the data would get,
and so do their gradients. Where gradients are averaged over processes (DistributedDataParallel, FSDP), multiply a
share by the number of processes. Every process must call in the same order, with nothing to add or not. Without a
process group all of this is plain computing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

Visit = Callable[[Sequence[Tensor], bool], Sequence[Tensor]]
Meeting = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor], bool], tuple[Tensor, Tensor]]


def place(across_ranks: bool = True) -> tuple[int, int]:
    """Number of this process and of all; (0, 1) without a process group or if `across_ranks` is false."""
    if across_ranks and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def over_ranks(counts: Mapping[str, Tensor], across_ranks: bool = True) -> dict[str, Tensor]:
    """Counts by name, each shape (), summed over all processes."""
    if place(across_ranks)[1] == 1 or not counts:
        return dict(counts)
    every = torch.stack(list(counts.values()))
    dist.all_reduce(every)
    return dict(zip(counts, every.unbind(), strict=True))


def circulate(
    cargo: Sequence[Tensor], tally: Sequence[Tensor], visit: Visit, across_ranks: bool = True
) -> list[Tensor]:
    """Show every process's texts to every process, and bring home what each had to add.

    Args:
        cargo: what tells about this process's texts, each (texts, ...); the number of texts may differ.
        tally: what is summed for them, each (texts, ...), zeros at first.
        visit: called with the cargo of one process, and whether it is this one's own; gives what to add to the tally
            of these texts.
        across_ranks: false keeps to this process.

    Returns:
        The tally of this process's texts, summed over all processes' visits.
    """
    rank, size = place(across_ranks)
    lengths = _lengths(cargo[0], size)
    goods, sums = list(cargo), list(tally)
    for hop in range(size):
        sums = [total + more for total, more in zip(sums, visit(goods, hop == 0), strict=True)]
        if size > 1:
            goods = goods if hop < size - 1 else []
            moved = _shift([*goods, *sums], rank, size, lengths[(rank - hop - 1) % size])
            goods, sums = moved[: len(goods)], moved[len(goods) :]
    return sums


def ring_sum(
    meeting: Meeting,
    frames: Tensor,
    travelling: Sequence[Tensor],
    companions: Sequence[Tensor],
    across_ranks: bool = True,
) -> tuple[Tensor, Tensor]:
    """The sum, over all processes' texts, of what they give with this process's frames; differentiable once.

    Args:
        meeting: called with frames, travelling, companions and whether the texts are this process's own; gives a
            scalar, which is differentiated, and named parts (parts,), which are not.
        frames: what stays here and has a gradient.
        travelling: what travels and has a gradient, each (texts, ...), floating point, of one dtype on all processes.
        companions: what travels without, each (texts, ...).
        across_ranks: false keeps to this process.

    Returns:
        This process's share of the scalar, and of the parts (parts,), without gradient.
    """
    wanted = [torch.is_grad_enabled() and tensor.requires_grad for tensor in (frames, *travelling)]
    if place(across_ranks)[1] > 1:  # all must agree on what is sent
        flags = torch.tensor(wanted, dtype=torch.int64, device=frames.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        wanted[1:] = [bool(flag) for flag in flags[1:].tolist()]
    total, parts = _RingSum.apply(  # type: ignore[no-untyped-call]
        meeting, tuple(companions), wanted, across_ranks, frames, *travelling
    )
    return total, parts


class _RingSum(torch.autograd.Function):
    """The sum and, on the way, its gradients; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        meeting: Meeting,
        companions: tuple[Tensor, ...],
        wanted: list[bool],
        across_ranks: bool,
        frames: Tensor,
        *travelling: Tensor,
    ) -> tuple[Tensor, Tensor]:
        moving = len(travelling)
        own = [frames.new_zeros(())]  # the sum so far, its parts, and the gradient of the frames
        parts: list[Tensor] = []
        still = torch.zeros_like(frames) if wanted[0] else None

        def visit(goods: Sequence[Tensor], home: bool) -> Sequence[Tensor]:
            nonlocal still
            with torch.set_grad_enabled(any(wanted)), torch.autocast(frames.device.type, enabled=False):
                inputs = [
                    tensor.detach().requires_grad_(want)
                    for tensor, want in zip((frames, *goods[:moving]), wanted, strict=True)
                ]
                total, told = meeting(inputs[0], inputs[1:], goods[moving:], home)
                asked = [tensor for tensor in inputs if tensor.requires_grad]
                given = (
                    torch.autograd.grad(total, asked, allow_unused=True, materialize_grads=True)
                    if total.requires_grad
                    else [torch.zeros_like(tensor) for tensor in asked]
                )
            own[0] = own[0] + total.detach()
            parts[:] = [parts[0] + told.detach()] if parts else [told.detach()]
            gradients = list(given)
            if still is not None:
                still = still + gradients.pop(0)
            return gradients

        tally = [torch.zeros_like(t) for t, want in zip(travelling, wanted[1:], strict=True) if want]
        homecoming = iter(circulate([*travelling, *companions], tally, visit, across_ranks))
        moved = [next(homecoming) if want else None for want in wanted[1:]]
        ctx.save_for_backward(still, *moved)
        ctx.mark_non_differentiable(parts[0])
        return own[0], parts[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if gradient is None else gradient * factor for gradient in ctx.saved_tensors]
        return (None, None, None, None, *scaled)


def _lengths(tensor: Tensor, size: int) -> list[int]:
    """How many rows each process has."""
    if size == 1:
        return [len(tensor)]
    mine = torch.tensor([len(tensor)], dtype=torch.int64, device=tensor.device)
    every = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(every, mine)
    return [int(length) for length in torch.cat(every).tolist()]


def _shift(tensors: Sequence[Tensor], rank: int, size: int, length: int) -> list[Tensor]:
    """Give to the next process, take `length` rows of each from the one before; empty ones are not sent."""
    received = [tensor.new_empty((length, *tensor.shape[1:])) for tensor in tensors]
    after, before = (rank + 1) % size, (rank - 1) % size
    moves = [dist.P2POp(dist.isend, t.detach().contiguous(), after) for t in tensors if t.numel()]
    moves += [dist.P2POp(dist.irecv, t, before) for t in received if t.numel()]
    for request in dist.batch_isend_irecv(moves) if moves else []:
        request.wait()
    return received
