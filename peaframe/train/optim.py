"""What moves the weights: which parts learn, how fast, when, and what a step does that is not finite."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from peaframe.errors import OptionError
from peaframe.train.lora import is_lora

_PARTS = {  # part of a frame model -> how the names of its parameters begin, in peaframe-mini and in PE-A-Frame
    "codec": ("audio.codec.",),
    "front": ("front.",),
    "audio": ("tower.", "audio.tower.", "audio.data_proj."),
    "text": ("text.",),
    "heads": ("audio_head.", "text_head.", "text_adapter."),
    "scale": ("logit_",),
}
PARTS = tuple(_PARTS)
OTHER = "other"  # parameters that belong to no model, such as a loss's
_LAYER = re.compile(r"(?:^|\.)tower\.layers\.(\d+)\.")
_STEM = re.compile(r"(?:^|\.)tower\.(class_embedding$|resnet\.)")
_MATRICES = ("weight", "in_proj_weight", "lora_down", "lora_up")


@dataclass(frozen=True)
class OptimOptions:
    """AdamW and its learning rates.

    Attributes:
        lr: peak learning rate of heads, projections, LoRA and whatever is no part of a model.
        layer_decay: factor per layer of the audio tower, from the last one (which has it once) down to what stands
            before the first one; 1 gives all of them the full rate.
        front_rate: factor for the codec, or mini's front end.
        text_rate: factor for the whole text tower.
        scale_rate: factor for the logits' scale and bias.
        weight_decay: on matrices and convolutions; never on norms, biases, scales, embeddings of words and places.
        betas: AdamW's two decays.
        eps: AdamW's term beside the root.
        clip: the gradient's greatest norm, over all parameters; `inf` never clips.
        most_skipped: steps in a row that may be skipped because they are not finite.
    """

    lr: float = 1e-4
    layer_decay: float = 0.9
    front_rate: float = 0.2
    text_rate: float = 0.1
    scale_rate: float = 1.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float = 1.0
    most_skipped: int = 20

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not value > 0:
                raise OptionError(f"got {name} {value}, expected more than 0")
        if not 0 < self.layer_decay <= 1:
            raise OptionError(f"got layer_decay {self.layer_decay}, expected more than 0, at most 1")
        for name in ("front_rate", "text_rate", "scale_rate", "weight_decay", "most_skipped"):
            value = getattr(self, name)
            if not value >= 0:
                raise OptionError(f"got {name} {value}, expected 0 or more; to keep a part still, freeze it")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay.

    Attributes:
        name: what they are: the part of the model; for the audio tower's layers also their number.
        names: the parameters' names in the model, in its order.
        lr: their peak learning rate.
        weight_decay: theirs.
    """

    name: str
    names: tuple[str, ...]
    lr: float
    weight_decay: float


def part_of(name: str) -> str:
    """The part of a frame model that a parameter belongs to by its name, one of `PARTS`, or `other`.

    In a module that has the model as its attribute `model`, names begin with `model.`.
    """
    name = name.removeprefix("model.")
    for part, beginnings in _PARTS.items():
        if name.startswith(beginnings):
            return part
    return OTHER


def freeze(model: nn.Module, parts: Collection[str]) -> None:
    """Keep parts of a model still. A part the model does not have is none of its parameters: no error.

    Args:
        model: a frame model.
        parts: some of `PARTS`.

    Raises:
        OptionError: a part that no frame model has.
    """
    _set_free(model, parts, False)


def unfreeze(model: nn.Module, parts: Collection[str]) -> None:
    """Let parts of a model learn; see `freeze`."""
    _set_free(model, parts, True)


def _set_free(model: nn.Module, parts: Collection[str], free: bool) -> None:
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise OptionError(f"got the part {unknown[0]!r} of a model, expected some of {', '.join(PARTS)}")
    for name, p in model.named_parameters():
        if part_of(name) in parts:
            p.requires_grad_(free)


def parameter_groups(model: nn.Module, options: OptimOptions) -> list[ParameterGroup]:
    """Sort the parameters that learn by learning rate and weight decay, in the model's order.

    A parameter of the audio tower's layer `i` of `n` has the rate `lr * layer_decay ** (n - i)`; what stands before
    the first layer (class token, convolutions) has `n + 1` in the exponent; the last norm and the projections before
    and behind the tower have the full rate, as heads do.

    Raises:
        OptionError: everything is frozen.
    """
    layers = [int(found[1]) for name, _ in model.named_parameters() if (found := _LAYER.search(name))]
    depth = max(layers, default=-1) + 1
    tables = {p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    groups: dict[tuple[str, float, float], list[str]] = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        matrix = name.rpartition(".")[2] in _MATRICES and p.ndim > 1 and p not in tables
        decay = options.weight_decay if matrix else 0.0
        label, factor = _rate(name, depth, options)
        groups.setdefault((label, options.lr * factor, decay), []).append(name)
    if not groups:
        raise OptionError("got a model with every part frozen, expected something to train; unfreeze a part")
    return [ParameterGroup(label, tuple(names), *rates) for (label, *rates), names in groups.items()]


def _rate(name: str, depth: int, options: OptimOptions) -> tuple[str, float]:
    """What a parameter's group is called, and its factor of the learning rate."""
    part = part_of(name)
    if is_lora(name):
        return "lora", 1.0
    if layer := _LAYER.search(name):
        return f"audio.layers.{layer[1]}", options.layer_decay ** (depth - int(layer[1]))
    if _STEM.search(name):
        return "audio.stem", options.layer_decay ** (depth + 1)
    factors = {
        "codec": options.front_rate,
        "front": options.front_rate,
        "text": options.text_rate,
        "scale": options.scale_rate,
    }
    return part, factors.get(part, 1.0)


def make_optimizer(model: nn.Module, options: OptimOptions) -> torch.optim.AdamW:
    """AdamW on the parameters that learn; each of its groups keeps its `name` and its `peak` rate for `set_rates`."""
    parameters = dict(model.named_parameters())
    groups = [
        {
            "params": [parameters[name] for name in group.names],
            "name": group.name,
            "lr": group.lr,
            "peak": group.lr,
            "weight_decay": group.weight_decay,
        }
        for group in parameter_groups(model, options)
    ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, eps=options.eps)


@dataclass(frozen=True)
class Schedule:
    """How learning rates rise and fall.

    Attributes:
        steps: optimiser steps in all.
        warm_up: steps of the linear rise to the peak.
        floor: share of the peak that the cosine ends at.
    """

    steps: int
    warm_up: int = 0
    floor: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warm_up <= self.steps:
            raise OptionError(
                f"got warm_up {self.warm_up} of {self.steps} steps, expected 0 to all of at least one step"
            )
        if not 0 <= self.floor <= 1:
            raise OptionError(f"got floor {self.floor}, expected a share of the peak from 0 to 1")


def rate_factor(step: int, schedule: Schedule) -> float:
    """Factor of the peak rates at `step`, the first being 0: `(step + 1) / warm_up`, then a cosine to the floor.

    The floor is reached at `steps`, one behind the last step, and kept from there on.
    """
    if step < schedule.warm_up:
        return (step + 1) / schedule.warm_up
    done = (step - schedule.warm_up) / max(1, schedule.steps - schedule.warm_up)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group of an optimiser of `make_optimizer` this share of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class GuardedStep:
    """Clip the gradient and step, unless the loss or the gradient is not finite: then skip, and count.

    With `torch.distributed` running, all processes skip when one has to, so they stay equal.

    Attributes:
        taken: steps that moved the weights.
        skipped: steps that did not.
        in_a_row: those skipped since the last one taken.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, options: OptimOptions) -> None:
        self.optimizer, self.options = optimizer, options
        self.taken = self.skipped = self.in_a_row = 0

    def __call__(self, loss: Tensor) -> tuple[bool, float]:
        """Do the step that the gradients in place ask for, and clear them.

        Args:
            loss: the value they belong to, a scalar.

        Returns:
            Whether the weights moved, and the norm of the gradient before it was clipped.

        Raises:
            OptionError: more than `most_skipped` in a row were not finite.
        """
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        total = nn.utils.clip_grad_norm_(parameters, self.options.clip)
        if hasattr(total, "full_tensor"):  # of weights that are spread over processes
            total = total.full_tensor()
        good = (torch.isfinite(loss.detach()) & torch.isfinite(total).to(loss.device)).float()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(good, distributed.ReduceOp.MIN)
        norm, moved = float(total), bool(good)
        if moved:
            self.optimizer.step()
            self.taken += 1
            self.in_a_row = 0
        else:
            self.skipped += 1
            self.in_a_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self.in_a_row > self.options.most_skipped:
            raise OptionError(
                f"got a loss of {float(loss.detach())} with a gradient of norm {norm} after "
                f"{self.in_a_row} skipped steps in a row, expected finite ones; lower lr or train in float32"
            )
        return moved, norm

    def state_dict(self) -> dict[str, int]:
        """The counts, to go on from."""
        return {"taken": self.taken, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from the counts of `state_dict`."""
        self.taken, self.skipped, self.in_a_row = (
            int(state[name]) for name in ("taken", "skipped", "in_a_row")
        )
