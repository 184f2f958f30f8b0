"""BEST-RQ on the audio tower: hidden frames are told by a code that a random quantiser gives what is hidden.

Chiu et al. 2022 (arXiv 2202.01855): inputs of mean 0 and deviation 1 go through a random projection, and the nearest
of a random codebook's vectors, all of length 1, is the label; neither learns. Spans of the input are replaced by noise,
and a linear layer on the encoder's frames predicts the labels there. PE-AV's paper (arXiv 2512.19687) takes it for the
audio tower, with labels from codec latents that nothing is hidden of; its sizes, spans and weight are not known. Ours:

- 8 192 codes of 16 channels, and noise of deviation 0.1, as in Chiu et al.; a span of 10 frames (their 0.4 s) begins
  at each frame with a probability of 0.04, which hides a third, as their 0.01 at each 10 ms does.
- One frame of 40 ms has one label; they stack four of 10 ms.
- Mean and deviation are taken of each channel, once, by `observe`, and stay.
- A learnt vector in place of noise is wav2vec 2.0's; with several codebooks, their losses are averaged.

Padding is neither hidden nor counted. The projection, the codebooks and the statistics are buffers that are saved with
a run, since a seed's numbers may differ between versions of torch; a published checkpoint knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peaframe.errors import OptionError
from peaframe.losses.ring import over_ranks

FILLS = ("noise", "learned")


@dataclass(frozen=True)
class BestRqOptions:
    """How labels are made and what is hidden; see the module's docstring for whose values these are.

    Attributes:
        codebooks: labels of each frame.
        codes: vectors of a codebook.
        code_dim: channels of them.
        probability: of a hidden span to begin at a frame.
        length: frames of a span; it ends with its clip.
        fill: what hidden frames become: `noise`, or a `learned` vector.
        noise: deviation of the noise, in deviations of the latents.
        seed: of the projection and the codebooks.
    """

    codebooks: int = 1
    codes: int = 8192
    code_dim: int = 16
    probability: float = 0.04
    length: int = 10
    fill: str = "noise"
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, least in (("codebooks", 1), ("codes", 2), ("code_dim", 1), ("length", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"got {name} {getattr(self, name)}, expected {least} or more")
        if not 0 <= self.probability <= 1:
            raise OptionError(f"got probability {self.probability}, expected a number from 0 to 1")
        if not 0 <= self.noise < float("inf"):
            raise OptionError(f"got noise {self.noise}, expected 0 or more")
        if self.fill not in FILLS:
            raise OptionError(f"got fill {self.fill!r}, expected {' or '.join(FILLS)}")


@dataclass(frozen=True, eq=False)
class Hidden:
    """What is hidden of a batch.

    Attributes:
        spans: (clips, frames) bool, true where hidden.
        noise: (clips, frames, channels), what stands there instead; None where a learnt vector does.
    """

    spans: Tensor
    noise: Tensor | None

    def part(self, rows: slice | Tensor) -> Hidden:
        """Of some of the clips."""
        return Hidden(self.spans[rows], None if self.noise is None else self.noise[rows])


def draw_spans(mask: Tensor, options: BestRqOptions, generator: torch.Generator) -> Tensor:
    """Spans to hide, (clips, frames) bool on the device of `mask`; a clip may have none.

    Args:
        mask: (clips, frames) bool, false for padding, which follows the frames of a clip.
        options: how often and how long.
        generator: on the CPU; as many numbers are drawn for the same frames, whatever the device.
    """
    starts = torch.rand(mask.shape, generator=generator) < options.probability
    counted = starts.to(torch.int64).cumsum(dim=1)
    earlier = F.pad(counted, (options.length, 0))[:, : mask.shape[1]]
    return (counted > earlier).to(mask.device) & mask


class BestRq(nn.Module):
    """The quantiser, which stands still, and the layer that predicts its labels.

    Attributes:
        projection: (codebooks, channels, code_dim).
        codes: (codebooks, codes, code_dim), of length 1.
        mean: (channels,) of latents.
        deviation: (channels,) of latents.
    """

    projection: Tensor
    codes: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, width: int, options: BestRqOptions | None = None) -> None:
        """Take the channels of a latent and of the tower's frames."""
        super().__init__()
        o = self.options = options or BestRqOptions()
        random = torch.Generator().manual_seed(o.seed)
        projection = torch.empty(o.codebooks, channels, o.code_dim)
        for matrix in projection:
            nn.init.xavier_uniform_(matrix, generator=random)
        codes = torch.randn(o.codebooks, o.codes, o.code_dim, generator=random)
        self.register_buffer("projection", projection)
        self.register_buffer("codes", F.normalize(codes, dim=-1))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.predict = nn.Linear(width, o.codebooks * o.codes)
        self.vector = nn.Parameter(torch.zeros(channels)) if o.fill == "learned" else None

    @torch.no_grad()
    def observe(self, latents: Tensor, mask: Tensor, across_ranks: bool = True) -> None:
        """Take mean and deviation of each channel from some clips, of all processes: once, before training.

        Args:
            latents: (clips, frames, channels).
            mask: (clips, frames) bool, false for padding.
            across_ranks: clips of all processes, or of this one only.

        Raises:
            OptionError: fewer than two frames.
        """
        x = latents[mask].double()
        counted = over_ranks({"frames": mask.sum()}, across_ranks)["frames"].double()
        if counted < 2:
            raise OptionError(
                f"got {int(counted)} frames of latents, expected 2 or more to tell their deviation"
            )
        mean = over_ranks({str(i): value for i, value in enumerate(x.sum(dim=0) / counted)}, across_ranks)
        middle = torch.stack(list(mean.values()))
        squares = (x - middle).square().sum(dim=0) / counted
        spread = over_ranks({str(i): value for i, value in enumerate(squares)}, across_ranks)
        self.mean.copy_(middle)
        self.deviation.copy_(torch.stack(list(spread.values())).sqrt().clamp(min=1e-6))

    @torch.no_grad()
    def labels(self, latents: Tensor) -> Tensor:
        """The code of each frame by itself, in float32 or more: (..., channels) to (..., codebooks) int64."""
        with torch.autocast(latents.device.type, enabled=False):
            x = (latents.to(self.mean.dtype) - self.mean) / self.deviation
            found = [
                (F.normalize(x @ matrix, dim=-1) @ codes.T).argmax(dim=-1)
                for matrix, codes in zip(self.projection, self.codes, strict=True)
            ]
        return torch.stack(found, dim=-1)

    def hide(self, latents: Tensor, mask: Tensor, generator: torch.Generator) -> Hidden:
        """Draw what to hide of latents (clips, frames, channels) with their mask (clips, frames)."""
        spans = draw_spans(mask, self.options, generator)
        if self.vector is not None:
            return Hidden(spans, None)
        noise = torch.randn(latents.shape, generator=generator).to(latents) * self.options.noise
        return Hidden(spans, self.mean.to(latents) + self.deviation.to(latents) * noise)

    def hidden_latents(self, latents: Tensor, hidden: Hidden) -> Tensor:
        """Latents (clips, frames, channels) as the tower gets them: all the same but for what is hidden."""
        if hidden.noise is not None:
            instead = hidden.noise
        else:
            assert self.vector is not None
            instead = (self.mean + self.deviation * self.vector).to(latents.dtype).expand_as(latents)
        return torch.where(hidden.spans[..., None], instead.to(latents.dtype), latents)

    def forward(
        self, latents: Tensor, frames: Tensor, hidden: Hidden, counts: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """The cross entropy at hidden frames, averaged over them and over codebooks; this process's share of it.

        Args:
            latents: (clips, frames, channels), with nothing hidden.
            frames: (clips, frames, width), what the tower gives for those with something hidden.
            hidden: what that was.
            counts: from `best_rq_counts`, over all pieces of a batch and all processes.

        Returns:
            A scalar (see `peaframe.losses.ring`), and by name `best_rq/loss` and `best_rq/accuracy`, also shares.
        """
        o = self.options
        labels = self.labels(latents[hidden.spans])
        logits = self.predict(frames[hidden.spans])
        with torch.autocast(frames.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).view(
                -1, o.codebooks, o.codes
            )
            divisor = counts["best_rq"].to(logits).clamp(min=1) * o.codebooks
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / divisor
            hits = (logits.detach().argmax(dim=-1) == labels).sum() / divisor
        return loss, {"best_rq/loss": float(loss.detach()), "best_rq/accuracy": float(hits)}


@torch.no_grad()
def best_rq_counts(spans: Tensor) -> dict[str, Tensor]:
    """What the loss is divided by, of this piece: hidden frames, shape (), int64. Add them up over pieces and ranks."""
    return {"best_rq": spans.sum()}
