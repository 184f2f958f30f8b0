"""One run on several processes: who is who, weights shared out or copied, and tensors made whole again.

Built on `torch.distributed` itself. Accelerate keeps the states of optimisers and generators as pickles, which are
never read or written here, and the losses pass texts between processes by themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from peaframe.errors import OptionError
from peaframe.models.modernbert import TextLayer
from peaframe.models.tower import Layer
from peaframe.train.student import Heard

_PATIENCE = timedelta(hours=2)  # what processes wait for the one that measures


@dataclass(frozen=True)
class Place:
    """This process among all of a run.

    Attributes:
        rank: its number.
        world_size: how many there are.
        device: where it computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0


@contextmanager
def processes(device: str) -> Iterator[Place]:
    """Join the processes that `torchrun` has started, if it has; leave them at the end.

    Args:
        device: `auto` (CUDA if there is any), `cpu` or `cuda`.

    Raises:
        OptionError: CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("got device cuda, but PyTorch sees no CUDA device here; use device=cpu")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if size == 1 or distributed.is_initialized():
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        yield Place(rank, distributed.get_world_size() if distributed.is_initialized() else 1, own)
        return
    if kind == "cuda":
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Place(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        distributed.destroy_process_group()


def shared(student: nn.Module, place: Place, kind: str, apart: Collection[Tensor] = ()) -> nn.Module:
    """The module to call: `student` with gradients averaged over all processes, or its weights shared out among them.

    Args:
        student: with `fsdp`, changed in place.
        place: of this process.
        kind: `ddp` or `fsdp`.
        apart: weights that stand still and are used by themselves, not through `student`: they stay whole.
    """
    if place.world_size == 1:
        return student
    if kind == "ddp":
        return DistributedDataParallel(student, device_ids=None)
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(place.device.type, (place.world_size,))
    whole_ones = {tensor.data_ptr() for tensor in apart}
    ignored = {p for p in student.parameters() if p.data_ptr() in whole_ones}
    _lengthen(student)
    layers = [module for module in student.modules() if isinstance(module, (Layer, TextLayer))]
    for module in (*layers, student):
        own = fully_shard(module, mesh=mesh, ignored_params=ignored)
        own.set_force_sum_reduction_for_comms(place.device.type == "cpu")  # gloo has taken averages for sums
    return student


def _lengthen(student: nn.Module) -> None:
    """Make single numbers vectors of one, since FSDP2 spreads only what has a length; `Heard` has them as before."""
    short = [(m, n) for m in student.modules() for n, p in m.named_parameters(recurse=False) if p.ndim == 0]
    for module, name in short:
        p = getattr(module, name)
        setattr(module, name, nn.Parameter(p.detach().reshape(1), p.requires_grad))

    def shorten(_module: nn.Module, _inputs: object, heard: Heard) -> Heard:
        return Heard(*heard[:2], *(value.squeeze().clone() for value in heard[2:]))  # no views for FSDP2

    if short:
        student.register_forward_hook(shorten)


@contextmanager
def gradients_kept(module: nn.Module, until_later: bool) -> Iterator[None]:
    """Inside, gradients stay on their process if `until_later`: more of the same step are to come."""
    if isinstance(module, DistributedDataParallel) and until_later:
        with module.no_sync():
            yield
        return
    synchronise: Any = getattr(module, "set_requires_gradient_sync", None)  # with FSDP2
    if synchronise is not None:
        synchronise(not until_later)
    yield


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be spread over processes, in one piece; all of them must ask."""
    full: Any = getattr(tensor, "full_tensor", None)
    found: Tensor = tensor if full is None else full()
    return found.detach()


def like(values: Tensor, example: Tensor) -> Tensor:
    """Whole `values`, spread over processes as `example` is, of its device; one number may have a length or none."""
    values = values.to(example.device).reshape(example.shape)
    if not hasattr(example, "full_tensor"):
        return values
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(example, DTensor)
    return distribute_tensor(values, example.device_mesh, example.placements)


def anywhere(flag: bool, place: Place) -> bool:
    """Whether `flag` is true on any process."""
    if place.world_size == 1:
        return flag
    found = torch.tensor([int(flag)], device=place.device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found)


def of_all(value: Any, place: Place) -> list[Any]:
    """What each process has to say, by their numbers; anything that JSON can hold. All of them must call."""
    if place.world_size == 1:
        return [value]
    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(place.device)
    length = torch.tensor([len(own)], device=place.device)
    lengths = [torch.empty_like(length) for _ in range(place.world_size)]
    distributed.all_gather(lengths, length)
    longest = int(max(lengths))
    texts = [own.new_empty(longest) for _ in lengths]
    distributed.all_gather(texts, torch.nn.functional.pad(own, (0, longest - len(own))))
    return [
        json.loads(text[: int(n)].cpu().numpy().tobytes()) for text, n in zip(texts, lengths, strict=True)
    ]


def wait_for_all(place: Place) -> None:
    """Go on when all processes have come this far."""
    if place.world_size > 1:
        distributed.barrier()
