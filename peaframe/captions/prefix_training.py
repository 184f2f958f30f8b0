"""Training of a captioning decoder on frozen embeddings of sound, and the decoder as a part of the engine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peaframe.captions.clips import OpenClip
from peaframe.captions.parts import Answer
from peaframe.captions.prefix import PrefixDecoder, Rows, padded_rows
from peaframe.errors import OptionError


@dataclass(frozen=True)
class Example:
    """A clip with a caption.

    Attributes:
        rows: (frames, width), its embeddings.
        kind: of the caption.
        caption: what is to be written.
    """

    rows: Tensor
    kind: str
    caption: str


@dataclass(frozen=True)
class PrefixTraining:
    """How a decoder is trained; all values are ours.

    Attributes:
        steps: of AdamW.
        batch: examples a step.
        lr: at its peak; it rises over the first tenth and falls to nothing along a half cosine.
        weight_decay: of matrices.
        clip_norm: gradients are no longer than this.
        language: whether the language model learns, too.
        seed: of the order of examples and of dropout.
    """

    steps: int = 1000
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    language: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise OptionError(
                f"got {self.steps} steps and batches of {self.batch}, expected 1 or more of each"
            )
        if not (
            0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf and 0 < self.clip_norm < math.inf
        ):
            raise OptionError(
                f"got {self}, expected a rate and a norm over 0, and a decay that is not negative"
            )


def train_prefix(
    decoder: PrefixDecoder,
    examples: Sequence[Example],
    training: PrefixTraining,
    tell: Callable[[int, float], object] | None = None,
) -> list[float]:
    """Train a decoder in place; what made the embeddings stands still.

    Args:
        decoder: what learns, with its language model only if `training` says so.
        examples: clips of any lengths.
        training: how.
        tell: told the step and its loss.

    Returns:
        The loss of each step.

    Raises:
        OptionError: no examples, one of an unknown kind or of another width, or a loss that is not finite.
    """
    kinds = decoder.config.kinds
    for example in examples:
        if (
            example.kind not in kinds
            or example.rows.ndim != 2
            or example.rows.shape[1] != decoder.config.width
        ):
            raise OptionError(
                f"got an example of kind {example.kind!r} and shape {tuple(example.rows.shape)}, "
                f"expected one of {', '.join(kinds)} and (frames, {decoder.config.width})"
            )
    if not examples:
        raise OptionError("got no examples to learn from; expected one or more")
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(training.language or not name.startswith("language."))
    decoder.train()
    decoder.language.train(training.language)  # what stands still has no dropout
    try:
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            return _train(decoder, examples, training, tell)
    finally:
        decoder.eval()


def _train(
    decoder: PrefixDecoder,
    examples: Sequence[Example],
    training: PrefixTraining,
    tell: Callable[[int, float], object] | None,
) -> list[float]:
    free = [parameter for parameter in decoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, training.lr)
    kinds, device = decoder.config.kinds, decoder.queries.device
    waiting: list[int] = []
    losses: list[float] = []
    for step in range(training.steps):
        while len(waiting) < training.batch:
            waiting += torch.randperm(len(examples)).tolist()
        some = [examples[i] for i in waiting[: training.batch]]
        waiting = waiting[training.batch :]
        for group in optimizer.param_groups:
            group["lr"] = training.lr * _rate(step, training.steps)
        rows, mask = padded_rows([example.rows for example in some])
        numbers = torch.tensor([kinds.index(example.kind) for example in some], device=device)
        loss = decoder(rows.to(device), mask.to(device), numbers, [example.caption for example in some])
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise OptionError(f"got a loss of {losses[-1]} in step {step}; lower the rate, now {training.lr}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(free, training.clip_norm)
        optimizer.step()
        if tell is not None:
            tell(step, losses[-1])
    return losses


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class PrefixCaptioner:
    """A trained decoder as a captioner of sound for the engine, of one kind of caption."""

    def __init__(self, decoder: PrefixDecoder, encoder: Rows, kind: str) -> None:
        """Join the decoder to what it was trained on.

        Raises:
            OptionError: the encoder's width is another one, or there is no such kind.
        """
        if encoder.width != decoder.config.width or kind not in decoder.config.kinds:
            raise OptionError(
                f"got embeddings of {encoder.width} channels and kind {kind!r}, "
                f"expected {decoder.config.width} and one of {', '.join(decoder.config.kinds)}"
            )
        self._decoder, self._encoder, self._kind = decoder.eval(), encoder, kind
        digest = hashlib.sha256(repr(decoder.config).encode())
        for name, tensor in sorted(decoder.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {float(tensor.double().sum())!r}".encode())
        self.name = kind
        self.identity = f"prefix {kind} {digest.hexdigest()[:16]} {encoder.identity}"

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip's sound."""
        return list(self._decoder.write([self._encoder.rows(clip.sound) for clip in clips], self._kind))
