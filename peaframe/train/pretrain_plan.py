"""What pre-training will take, before it is begun: memory of a GPU, work of a step, days and money.

Towers go through a piece of a batch with tensors that have shapes and nothing else (`peaframe.train.plan_counting`);
the rest is arithmetic. With `F` the operations of all towers and heads on a piece forward and `B` those backward, `n`
pieces of a process's clips, `E` the operations of the layers, `P` pairs, `d` channels of an embedding, `c` clips of a
process and `C` of the batch, a process does in a step

    n (F + B)                  embeddings and their gradients, BEST-RQ's with them
    + (n - 1 > 0) n F'         embeddings once before, without BEST-RQ, where there are several pieces (F')
    + n E                      layers once more, where they are computed again for their gradients
    + 8 P c C d                the pairs: a product forward, one more in its stead, and two for gradients

A step takes that many operations divided by what a GPU does in a second, which is its peak times a share of it that
is really reached (a third to a half in good runs on large GPUs; measure yours). What is not a matrix product, reading,
and waiting for other processes are in that share. Memory is that of weights, gradients, AdamW's moments, averages and
the copy that is saved; what autograd keeps of a piece; and embeddings. A device's libraries and the gaps of its
allocator come on top, as do the weights of a layer that FSDP gathers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from peaframe.errors import OptionError
from peaframe.train.machine import Machine
from peaframe.train.plan_counting import OPERATIONS, Kept
from peaframe.train.pretrain_batch import CAPTIONS
from peaframe.train.pretrain_model import PretrainModel


@dataclass(frozen=True)
class Clips:
    """What a typical clip is, with everything there.

    Attributes:
        frames: of latents.
        pictures: features of pictures.
        tokens: of each caption.
    """

    frames: int
    pictures: int
    tokens: int

    def __post_init__(self) -> None:
        """Refuse clips of nothing."""
        if min(self.frames, self.pictures, self.tokens) < 1:
            raise OptionError(f"got {self}, expected 1 or more of each")


@dataclass(frozen=True)
class PretrainPlan:
    """What a run takes.

    Attributes:
        machine: what it is on.
        steps: of the run.
        clips: of a step, of all processes.
        learning: parameters that learn.
        still: those that do not.
        weights: bytes on each GPU: of parameters and buffers.
        gradients: of gradients.
        moments: of AdamW's averages.
        averages: of averaged weights, and the whole copy of them that is saved.
        activations: that autograd keeps of a piece, and weights in another type.
        embeddings: of all pairs' sides, of one process and of its neighbour.
        flops: operations of a step on each GPU.
        tokens: frames, pictures and word pieces of a step, on all GPUs.
    """

    machine: Machine
    steps: int
    clips: int
    learning: int
    still: int
    weights: int
    gradients: int
    moments: int
    averages: int
    activations: int
    embeddings: int
    flops: int
    tokens: int

    @property
    def memory(self) -> int:
        """Bytes on each GPU."""
        return (
            self.weights + self.gradients + self.moments + self.averages + self.activations + self.embeddings
        )

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.machine.seconds(self.flops)

    @property
    def days(self) -> float:
        """Of the run."""
        return self.machine.days(self.steps * self.seconds)

    @property
    def cost(self) -> float:
        """Of the run."""
        return self.machine.cost(self.steps * self.seconds)

    def lines(self) -> list[str]:
        """A table for people; a GB is 1e9 bytes."""
        m = self.machine
        parts = ("weights", "gradients", "moments", "averages", "activations", "embeddings")
        return [
            f"parameters: {self.learning / 1e6:.1f} million learn, {self.still / 1e6:.1f} million stand still",
            *(f"{part + ':':<13} {getattr(self, part) / 1e9:9.3f} GB on each GPU" for part in parts),
            m.memory_line(self.memory, "fsdp, more GPUs, or a lower clips_at_once"),
            m.step_line(self.clips, self.flops),
            f"to be read: {self.tokens / self.seconds:.3g} tokens (frames, pictures, word pieces) a second, "
            f"{self.clips / self.seconds:.3g} clips",
            m.run_line(self.steps, self.seconds),
        ]


def plan_pretraining(
    student: PretrainModel,
    machine: Machine,
    clips: Clips,
    *,
    batch: int,
    steps: int,
    clips_at_once: int | None = None,
    sharded: bool = False,
    half: bool = False,
    recompute: bool = False,
) -> PretrainPlan:
    """Count what a run takes.

    Args:
        student: on any device, the meta device included; it is not changed. Its options tell what is asked of it, but
            for `recompute`, which it must have been made without.
        machine: what it would be on.
        clips: what they are like.
        batch: clips of a step, of all processes.
        steps: of the run.
        clips_at_once: of a process, in the towers; None for all of its clips.
        sharded: whether FSDP spreads what learns over the GPUs.
        half: whether products are in bfloat16.
        recompute: whether layers are computed again for their gradients.

    Raises:
        OptionError: the batch cannot be shared out, or the student recomputes.
    """
    if student.options.recompute:
        raise OptionError("got a model that recomputes its layers, expected one without; give recompute here")
    if batch < 1 or batch % machine.gpus or steps < 1:
        raise OptionError(
            f"got a batch of {batch} on {machine.gpus} GPUs and {steps} steps, expected a multiple, and 1 or more"
        )
    mine = batch // machine.gpus
    size = min(mine, clips_at_once or mine)
    full, rest = divmod(mine, size)
    whole = _count(student, size, clips, half, recompute)
    flops, activations = full * whole[0], whole[1]
    cached = mine > size
    if rest:
        flops += _count(student, rest, clips, half, recompute)[0]
    if cached:
        ahead = _Forward(student, with_best_rq=False)
        flops += full * _run(ahead, size, clips, half, backward=False)[0]
        flops += _run(ahead, rest, clips, half, backward=False)[0] if rest else 0
    dim = student.model.config.embedding_dim
    flops += 8 * len(student.options.pairs) * mine * batch * dim
    learning = sum(p.numel() for p in student.parameters() if p.requires_grad)
    every = sum(t.numel() * t.element_size() for t in (*student.parameters(), *student.buffers()))
    spread = machine.gpus if sharded else 1
    frames = _pictures(student, clips)
    return PretrainPlan(
        machine=machine,
        steps=steps,
        clips=batch,
        learning=learning,
        still=sum(p.numel() for p in student.parameters()) - learning,
        weights=every - 4 * learning + 4 * learning // spread,
        # DistributedDataParallel sends copies of them
        gradients=4 * learning * (2 if machine.gpus > 1 and not sharded else 1) // spread,
        moments=8 * learning // spread,
        averages=4 * learning // spread + 4 * learning,
        activations=activations,
        embeddings=4 * dim * mine * (3 * len(student.sides) + 2),
        flops=flops,
        tokens=batch * (clips.frames + frames + len(CAPTIONS) * clips.tokens),
    )


def _pictures(student: PretrainModel, clips: Clips) -> int:
    return student.model.config.video.frames or clips.pictures


def _count(student: PretrainModel, size: int, clips: Clips, half: bool, again: bool) -> tuple[int, int]:
    """Operations of a piece forward and backward, with layers once more if they are, and the bytes that it keeps."""
    flops, kept = _run(_Forward(student, with_best_rq=True), size, clips, half, backward=True)
    casts, _, activations = kept.sizes(again)
    return flops + (kept.layers if again else 0), casts + activations


def _run(forward: _Forward, size: int, clips: Clips, half: bool, backward: bool) -> tuple[int, Kept]:
    """A piece of a batch without values: operations, and what was kept."""
    learns = {name for name, p in forward.named_parameters() if p.requires_grad and backward}
    counter = FlopCounterMode(display=False, custom_mapping=OPERATIONS)
    with FakeTensorMode():
        given = {
            name: torch.empty(x.shape, dtype=x.dtype, requires_grad=name in learns)
            for name, x in (*forward.named_parameters(), *forward.named_buffers())
        }
        kept = Kept(list(given.values()), counter.get_total_flops)
        with counter:
            with kept.watching(forward):
                loss = functional_call(forward, given, (size, clips, half))
            if backward:
                loss.backward()
    return counter.get_total_flops(), kept


class _Forward(nn.Module):
    """All that a student does with a piece, of clips with everything, in one call."""

    def __init__(self, student: PretrainModel, with_best_rq: bool) -> None:
        super().__init__()
        self.student, self.with_best_rq = student, with_best_rq

    def forward(self, size: int, clips: Clips, half: bool) -> Tensor:
        """A number that depends on all embeddings."""
        s = self.student
        m, o = s.model, s.options
        dtype = s.scales.bias.dtype
        latents = torch.empty(size, clips.frames, m.config.audio.codec.latent, dtype=dtype)
        features = torch.empty(size, _pictures(s, clips), m.config.video.features or 0, dtype=dtype)
        ids = torch.zeros(size, clips.tokens, dtype=torch.int64)
        masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in (latents, features)]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            tokens: dict[str, Tensor] = {}
            if _asked(s, "audio", "audio_visual", "audio_plus_text"):
                heard, tokens["audio"] = m.audio(latents, masks[0])
            if _asked(s, "visual", "audio_visual", "visual_plus_text"):
                seen, tokens["visual"] = m.video(features, masks[1])
            if _asked(s, "audio_visual"):
                tokens["audio_visual"] = m.fusion(heard, None, seen, None)[1]
            joined = {"audio_plus_text": o.text_with_audio, "visual_plus_text": o.text_with_video}
            kinds = [
                kind
                for kind in CAPTIONS
                if _asked(s, f"{kind}_text") or any(_asked(s, p) and k == kind for p, k in joined.items())
            ]
            read = {kind: m.text(ids, torch.ones_like(ids)) for kind in kinds}
            tokens |= {f"{kind}_text": state for kind, state in read.items()}
            for name, kind in joined.items():
                if _asked(s, name):
                    tokens[name] = torch.cat((tokens[name.partition("_")[0]], read[kind]), dim=-1)
            parts = [m.heads[side](tokens[side]).float().sum() for side in s.sides]
            if s.best_rq is not None and self.with_best_rq:
                frames = heard if o.one_pass and "audio" in tokens else m.audio(latents, masks[0])[0]
                rq = s.best_rq.options
                hidden = math.ceil(size * clips.frames * (1 - (1 - rq.probability) ** rq.length))
                chosen = frames.flatten(0, 1)[:hidden]
                s.best_rq.labels(latents.flatten(0, 1)[:hidden])
                logits = s.best_rq.predict(chosen).float().view(-1, rq.codes)
                parts.append(nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64)))
        return torch.stack(parts).sum()


def _asked(student: PretrainModel, *sides: str) -> bool:
    return any(side in student.sides for side in sides)
