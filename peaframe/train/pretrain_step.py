"""One step of PE-AV's pre-training: losses and gradients of a batch that need not fit into memory at once.

Every clip meets every other in the loss, so a large batch cannot be cut into smaller ones. But the loss needs only the
embeddings, which are small: they are made in pieces without keeping what their gradients need, the loss gives the
gradients of the embeddings, and then every piece is embedded once more, and its gradients go on from there (Gao et al.
2021, arXiv 2101.06983). Weights get what one large step would give them, for one forward pass more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from peaframe.losses.best_rq import Hidden, best_rq_counts
from peaframe.losses.pairs import pair_loss
from peaframe.losses.ring import over_ranks
from peaframe.train.parallel import gradients_kept
from peaframe.train.pretrain_batch import CAPTIONS, PretrainBatch
from peaframe.train.pretrain_model import Embedded, PretrainOptions


def pretrain_step(
    student: nn.Module,
    batch: PretrainBatch,
    hidden: Hidden | None,
    options: PretrainOptions,
    clips_at_once: int | None = None,
    factor: float = 1.0,
    autocast: torch.dtype | None = None,
) -> dict[str, float]:
    """Add the gradients of a batch to those of the weights.

    Args:
        student: a `PretrainModel`, or what `peaframe.train.parallel.shared` made of one.
        batch: this process's clips.
        hidden: what BEST-RQ hides of them, from `PretrainModel.hide`; None leaves it out.
        options: the model's.
        clips_at_once: clips that go through the towers together; None for all. All processes must have equally many
            pieces.
        factor: gradients are multiplied with it; the number of processes where they are averaged over them.
        autocast: type of matrix products in the towers; None for that of the weights. Losses are in float32.

    Returns:
        `loss`, and each pair's loss, accuracy, scale and bias, and BEST-RQ's loss and accuracy, by name: of the whole
        batch, over all processes.
    """
    clips = clips_at_once or max(1, len(batch))
    pieces = batch.pieces(clips) or [batch]
    hiddens = [
        None if hidden is None else hidden.part(slice(number * clips, (number + 1) * clips))
        for number in range(len(pieces))
    ]
    across = options.pair.across_ranks
    counts = None if hidden is None else over_ranks(best_rq_counts(hidden.spans), across)
    same = {f"{kind}_text": batch.caption(kind).same() for kind in CAPTIONS}

    def embed(number: int, counts: dict[str, Tensor] | None) -> Embedded:
        kind = batch.latents.device.type
        with torch.autocast(kind, autocast) if autocast is not None else nullcontext():
            found: Embedded = student(pieces[number], hiddens[number], counts)
        return found

    def paired(found: Embedded) -> tuple[Tensor, dict[str, float]]:
        numbers = found.scales, found.biases
        return pair_loss(options.pairs, found.embeddings, found.present, *numbers, options.pair, same)

    told: dict[str, float] = {}

    def descend(found: Embedded, loss: Tensor) -> None:
        """Go back from one piece's embeddings, with its share of BEST-RQ's loss."""
        if found.best_rq is not None:
            loss = loss + options.best_rq_weight * found.best_rq
        (loss * factor).backward()  # type: ignore[no-untyped-call]
        for name, value in found.told.items():
            told[name] = told.get(name, 0.0) + value

    if len(pieces) == 1:
        whole = embed(0, counts)
        loss, parts = paired(whole)
        descend(whole, loss)
    else:
        randoms = []
        with torch.no_grad():
            once = []
            for number in range(len(pieces)):
                randoms.append(_Random(batch.latents.device))
                once.append(embed(number, None))
        whole = _joined(once)
        loss, parts = paired(whole)
        leaves = [*whole.embeddings.values(), whole.scales, whole.biases]
        gradients = torch.autograd.grad(loss, leaves)
        cut = [torch.split(gradient, clips) for gradient in gradients[:-2]]
        for number in range(len(pieces)):
            with gradients_kept(student, until_later=number < len(pieces) - 1):
                with randoms[number].again():
                    found = embed(number, counts)
                own = [*found.embeddings.values(), found.scales, found.biases]
                # every piece has a part of the gradient of scales and biases, so that each uses all weights
                given = [*(rows[number] for rows in cut), *(g / len(pieces) for g in gradients[-2:])]
                meant = [(x * g).sum() for x, g in zip(own, given, strict=True)]
                descend(found, torch.stack([term.to(loss.dtype) for term in meant]).sum())
    told |= parts
    told["loss"] = float(loss.detach()) + options.best_rq_weight * told.get("best_rq/loss", 0.0)
    values = {name: loss.new_tensor(value, dtype=torch.float64) for name, value in told.items()}
    found_values = {name: float(value) for name, value in over_ranks(values, across).items()}
    for what, numbers in (("scale", whole.scales), ("bias", whole.biases)):
        each = zip(options.pairs, numbers.tolist(), strict=True)
        found_values |= {f"{name}/{what}": value for name, value in each}
    return found_values


def _joined(parts: Sequence[Embedded]) -> Embedded:
    """The embeddings of all pieces, as what is differentiated by."""
    embeddings = {
        name: torch.cat([part.embeddings[name] for part in parts]).requires_grad_()
        for name in parts[0].embeddings
    }
    present = {name: torch.cat([part.present[name] for part in parts]) for name in embeddings}
    scales, biases = (x.detach().clone().requires_grad_() for x in (parts[0].scales, parts[0].biases))
    return Embedded(embeddings, present, scales, biases, None, {})


class _Random:
    """Where the random numbers stood, so that the second pass draws those of the first."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in self._devices)]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Inside, they are drawn again; behind, they go on as if nothing had been."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._states[0])
            for device, state in zip(self._devices, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
