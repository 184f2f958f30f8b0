"""What the losses of fine-tuning look at: embeddings of frames and texts, what is known of them, and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peaframe.errors import OptionError
from peaframe.losses.meaning import same_meaning


@dataclass(frozen=True, eq=False)
class ActivityBatch:
    """Some clips and some texts, and which text is heard in which frame of its clip.

    Attributes:
        frames: (batch, frames, dim) embeddings.
        frame_mask: (batch, frames) bool, false for padding.
        texts: (texts, dim) embeddings.
        clip: (texts,) int64, which clip of the batch a text belongs to; -1 for none of them (negative for all).
        ids: (texts,) int64, equal for the same label, on all processes; negative for a text that is like no other.
        states: (texts, frames), on the text's own clip: -1 not heard, 0 unknown, +1 heard.
        weak: (texts,) bool, known for the clip as a whole only: the highest of its states says whether it is heard.
        text_mask: (texts,) bool, false for padding; None for all true.
        clusters: (texts,) int64, the group of similar texts, negative for none; None for none at all.
    """

    frames: Tensor
    frame_mask: Tensor
    texts: Tensor
    clip: Tensor
    ids: Tensor
    states: Tensor
    weak: Tensor
    text_mask: Tensor | None = None
    clusters: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that shapes fit and that every clip is there."""
        if self.frames.dim() != 3 or self.texts.dim() != 2 or self.frames.shape[2] != self.texts.shape[1]:
            raise OptionError(
                f"got frames {tuple(self.frames.shape)} and texts {tuple(self.texts.shape)}, "
                "expected (batch, frames, dim) and (texts, dim) of one dim"
            )
        batch, length, _ = self.frames.shape
        count = len(self.texts)
        shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
            "frame_mask": (self.frame_mask, (batch, length)),
            "clip": (self.clip, (count,)),
            "ids": (self.ids, (count,)),
            "states": (self.states, (count, length)),
            "weak": (self.weak, (count,)),
            "text_mask": (self.text_mask, (count,)),
            "clusters": (self.clusters, (count,)),
        }
        for name, (tensor, shape) in shapes.items():
            if tensor is not None and tuple(tensor.shape) != shape:
                raise OptionError(f"got {name} of shape {tuple(tensor.shape)}, expected {shape}")
        if count and not (int(self.clip.min()) >= -1 and int(self.clip.max()) < batch):
            raise OptionError(
                f"got clips from {int(self.clip.min())} to {int(self.clip.max())}, "
                f"expected from -1 (none) to {batch - 1}"
            )

    @property
    def counted(self) -> Tensor:
        """(texts,) bool: not padding."""
        return torch.ones_like(self.weak) if self.text_mask is None else self.text_mask

    @property
    def groups(self) -> Tensor:
        """(texts,) int64: the cluster of each text, -1 for none."""
        return torch.full_like(self.clip, -1) if self.clusters is None else self.clusters


@dataclass(frozen=True)
class ActivityOptions:
    """What counts how much; all values are ours.

    Attributes:
        p_local: share of the local part in [0, 1]; the global part has the rest.
        positive_weight: weight of pairs that are heard, in the global and the weak part.
        weak_weight: weight of the weak part.
        sharpness: of the pooling over a clip; near 0 it is the mean, large it is the maximum.
        same_above: cosine above which two texts mean the same; None leaves their embeddings out of it. What is near
            depends on the text tower: 0.999 takes equal texts only, for most.
        cluster_weight: weight of a negative from the cluster of one of the clip's own texts. 0 leaves it out, as
            FineLAP does, whose clusters hold paraphrases; above 1 it is a hard negative, for broader clusters (ours).
        across_ranks: texts of all processes, or of this one only.
    """

    p_local: float = 0.3
    positive_weight: float = 1.0
    weak_weight: float = 1.0
    sharpness: float = 2.0
    same_above: float | None = None
    cluster_weight: float = 1.0
    across_ranks: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 <= self.p_local <= 1:
            raise OptionError(f"got p_local {self.p_local}, expected a share from 0 to 1")
        for name in ("positive_weight", "weak_weight", "cluster_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise OptionError(f"got {name} {value}, expected 0 or more")
        if not 0 < self.sharpness < float("inf"):
            raise OptionError(f"got sharpness {self.sharpness}, expected more than 0")
        if self.same_above is not None and not -1 <= self.same_above <= 1:
            raise OptionError(f"got same_above {self.same_above}, expected a cosine from -1 to 1")


def own_rows(batch: ActivityBatch) -> Tensor:
    """Rows of the texts that belong to a clip and are no padding."""
    return (batch.counted & (batch.clip >= 0)).nonzero()[:, 0]


def weak_clips(batch: ActivityBatch) -> Tensor:
    """Clips that are known as a whole only, (batch,) bool: they have texts, and all of them are weak."""
    rows = own_rows(batch)
    zero = batch.clip.new_zeros(len(batch.frames))
    texts = zero.index_add(0, batch.clip[rows], torch.ones_like(rows))
    weak = zero.index_add(0, batch.clip[rows], batch.weak[rows].to(rows.dtype))
    return (texts > 0) & (weak == texts)


@torch.no_grad()
def foreign_weights(
    batch: ActivityBatch,
    own_texts: Tensor,
    texts: Tensor,
    companions: Sequence[Tensor],
    home: bool,
    options: ActivityOptions,
    related: Tensor | None,
) -> Tensor:
    """How much texts from anywhere count as negatives of the clips here, (batch, texts); 0 for a clip's own.

    Args:
        batch: this process's clips and texts.
        own_texts: (texts of the batch, dim), embeddings of its texts.
        texts: (texts, dim), from anywhere.
        companions: ids, weak, counted and groups of `texts`.
        home: `texts` are those of `batch`.
        options: what counts how much.
        related: (pairs, 2) ids that are no negatives of each other.
    """
    ids, _, counted, groups = companions
    rows = own_rows(batch)
    same = same_meaning(batch.ids[rows], ids, own_texts[rows], texts, options.same_above, related)
    near = (batch.groups[rows][:, None] == groups[None]) & (groups >= 0)
    out = _by_clip(batch, rows, same) | ~counted
    if home:
        out[batch.clip[rows], rows] = True
    weights = texts.new_ones(out.shape).masked_fill(_by_clip(batch, rows, near), options.cluster_weight)
    return weights.masked_fill(out, 0)


def _by_clip(batch: ActivityBatch, rows: Tensor, pairs: Tensor) -> Tensor:
    """Of (own texts, texts): whether any own text of a clip has it, (batch, texts) bool."""
    totals = torch.zeros(len(batch.frames), pairs.shape[1], dtype=torch.int32, device=pairs.device)
    return totals.index_add_(0, batch.clip[rows], pairs.to(torch.int32)) > 0
